import type { Random } from '../../kubernetes/random.ts'
import { type Corpus, dimensions, dot, vectorAt } from '../corpus.ts'
import type { Layout } from './world.ts'

/**
 * The documents in one line, by number: drawn, or so that neighbours say the like. A folder is a stretch of
 * it.
 */
export function orderOf(corpus: Corpus, layout: Layout, random: Random): readonly number[] {
  const drawn = random.pick(
    corpus.documents.map((_, at) => at),
    corpus.documents.length,
  )
  return layout === 'strewn' ? drawn : split(drawn, meansOf(corpus), random)
}

/** Halves, each time between two documents drawn: whoever is nearer to the one goes left. */
function split(documents: readonly number[], means: readonly Float32Array[], random: Random): number[] {
  if (documents.length <= 4) return [...documents]
  const [one, other] = random.pick(documents, 2).map((at) => means[at])
  if (one === undefined || other === undefined) return [...documents]
  const leaning = new Map(
    documents.map((at) => {
      const mean = means[at] ?? one
      return [at, dot(mean, other) - dot(mean, one)]
    }),
  )
  const sorted = documents.toSorted((a, b) => (leaning.get(a) ?? 0) - (leaning.get(b) ?? 0))
  const middle = Math.ceil(sorted.length / 2)
  return [
    ...split(sorted.slice(0, middle), means, random),
    ...split(sorted.slice(middle), means, random).toReversed(),
  ]
}

function meansOf(corpus: Corpus): Float32Array[] {
  const sums = corpus.documents.map(() => new Float32Array(dimensions))
  for (let at = 0; at < corpus.count; at++) {
    const vector = vectorAt(corpus, at)
    sums[corpus.documentOf[at] ?? 0]?.forEach((value, place, sum) => {
      sum[place] = value + (vector[place] as number)
    })
  }
  return sums.map((sum) => {
    const length = Math.sqrt(dot(sum, sum)) || 1
    return sum.map((value) => value / length)
  })
}
