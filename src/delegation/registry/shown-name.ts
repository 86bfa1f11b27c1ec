const nameMax = 80

/** Names are shown next to decisions: no line breaks, no marks that turn the direction of what follows. */
export function shownName(candidates: readonly (string | undefined)[], otherwise: string): string {
  const [shortest = otherwise] = candidates.flatMap(
    (candidate) => candidate?.replace(/[\p{C}\p{Zl}\p{Zp}\p{DI}]/gu, '').trim() || [],
  )
  return shortest.slice(0, nameMax)
}
