/** What `work` comes to, or `otherwise` where it takes longer than so many milliseconds; it goes on all the same. */
export async function withTimeout<T, U>(ms: number, promise: Promise<T>, otherwise: U): Promise<T | U> {
  const { promise: timedOut, resolve } = Promise.withResolvers<U>()
  const timer = setTimeout(resolve, ms, otherwise)
  try {
    return await Promise.race([promise, timedOut])
  } finally {
    clearTimeout(timer)
  }
}
