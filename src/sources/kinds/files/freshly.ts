/**
 * Does a thing anew for whoever asks, once for all who wait meanwhile: each gets what began after they asked.
 */
export function freshly<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve()
  let next: Promise<T> | undefined
  return () => {
    next ??= running.then(begin, begin)
    return next
  }

  function begin(): Promise<T> {
    next = undefined
    const begun = work()
    running = begun
    return begun
  }
}
