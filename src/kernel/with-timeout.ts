/**
 * What `work` comes to, or `otherwise` where it takes longer than so many milliseconds; it goes on all the
 * same.
 */
export async function withTimeout<T, U>(ms: number, promise: Promise<T>, otherwise: U): Promise<T | U> {
  const { promise: timedOut, resolve } = Promise.withResolvers<U>()
  const timer = setTimeout(resolve, ms, otherwise)
  try {
    return await Promise.race([promise, timedOut])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * What the work comes to; its waiting ends with the signal, whose reason it throws, while the work goes on.
 */
export async function unlessAborted<T>(pending: Promise<T>, signal: AbortSignal): Promise<T> {
  // It fails unheard where nobody waits any more; Node would end the process for it.
  pending.catch(() => undefined)
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([pending, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
