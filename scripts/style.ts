import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import remarkGfm from 'remark-gfm'
import remarkParse from 'remark-parse'
import remarkRetext from 'remark-retext'
import retextEnglish from 'retext-english'
import retextPassive from 'retext-passive'
import retextRepeatedWords from 'retext-repeated-words'
import { unified } from 'unified'
import { VFile } from 'vfile'
import { type Finding, wideComments } from './wide-comments.ts'

/** A sentence of more words has to be read twice. */
const wordsMax = 30
/** Of a hundred sentences so many may be in the passive voice: where nobody knows, or cares, who does it. */
const passiveSharePercent = 15

/**
 * Checks the English of one Markdown page: sentences of at most 30 words, words that stand twice, how many
 * sentences are in the passive voice (by retext-passive: an auxiliary before one of its participles). Code is
 * left out. Does NOT check whether what it says is true.
 */
export async function checkStyle(path: string, markdown: string): Promise<readonly Finding[]> {
  const file = new VFile({ path, value: markdown })
  let sentences = 0
  const countWords = () => (tree: Tree, to: VFile) => {
    for (const sentence of sentencesOf(tree)) {
      sentences += 1
      const words = wordsIn(sentence)
      if (words > wordsMax)
        to.message(`a sentence of ${words} words; ${wordsMax} at most`, {
          place: sentence.position,
          source: 'long',
        })
    }
  }
  const english = unified().use(retextEnglish).use(retextPassive).use(retextRepeatedWords).use(countWords)
  const processor = unified().use(remarkParse).use(remarkGfm).use(remarkRetext, english)
  await processor.run(processor.parse(file), file)
  const found = file.messages.map(({ line, reason, source }) => ({
    path,
    line: line ?? 1,
    problem: reason,
    source,
  }))
  const passive = found.filter(({ source }) => source === 'retext-passive')
  const isTooPassive = passive.length > Math.max(2, (sentences * passiveSharePercent) / 100)
  return found.filter(({ source }) => source !== 'retext-passive' || isTooPassive)
}

interface Tree {
  readonly type: string
  readonly children?: readonly Tree[]
  readonly position?: {
    readonly start: { readonly line: number; readonly column: number }
    readonly end: { readonly line: number; readonly column: number }
  }
}

function sentencesOf(tree: Tree): readonly Tree[] {
  return tree.type === 'SentenceNode' ? [tree] : (tree.children ?? []).flatMap(sentencesOf)
}

function wordsIn(tree: Tree): number {
  if (tree.type === 'WordNode') return 1
  return (tree.children ?? []).reduce((sum, child) => sum + wordsIn(child), 0)
}

/** The pages that people read. Decisions are left as they were taken. */
const pages =
  '{*.md,docs/*.md,docs/{flows,errors}/*.md,packages/*/*.md,python/*.md,examples/*.md,sample/*.md}'
/** The code that has comments. */
const sources = '{src,packages,test,benchmarks,examples,scripts}/**/*.{ts,tsx}'

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../', import.meta.url))
  const paths = process.argv.length > 2 ? process.argv.slice(2) : globSync(pages, { cwd: root }).sort()
  const found: Finding[] = []
  for (const path of paths) found.push(...(await checkStyle(path, readFileSync(`${root}${path}`, 'utf8'))))
  if (process.argv.length === 2)
    for (const path of globSync(sources, { cwd: root, exclude: ['**/node_modules/**'] }))
      found.push(...wideComments(path, readFileSync(`${root}${path}`, 'utf8')))
  for (const { path, line, problem } of found) console.log(`${path}:${line} ${problem}`)
  console.log(`${found.length} findings in ${paths.length} pages and the comments of the code`)
  if (found.length > 0) process.exitCode = 1
}
