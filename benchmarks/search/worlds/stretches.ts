import type { Random } from '../../kubernetes/random.ts'

/** For each level so many stretches of a line of documents, from one place of it to before another. */
export function drawStretches(
  documents: number,
  level: number,
  count: number,
  random: Random,
): readonly (readonly [number, number])[] {
  const length = Math.min(documents, Math.max(1, Math.round(level * documents)))
  return Array.from({ length: count }, () => {
    const from = Math.floor(random.next() * (documents - length + 1))
    return [from, from + length] as const
  })
}
