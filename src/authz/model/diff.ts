/** What turns one text into another, line by line as `diff -u` shows it, without its header; '' where they are equal. */
export function diffLines(before: string, after: string): string {
  const [old, fresh] = [linesOf(before), linesOf(after)]
  const edits = editsOf(old, fresh)
  const near = edits.map((_, index) =>
    edits.slice(Math.max(0, index - around), index + around + 1).some(({ sign }) => sign !== ' '),
  )
  const shown: string[] = []
  for (const [index, { sign, line, at }] of edits.entries()) {
    if (!near[index]) continue
    if (index === 0 || !near[index - 1]) shown.push(`@@ line ${at} @@`)
    shown.push(`${sign}${line}`)
  }
  return shown.join('\n')
}

const around = 3

interface Edit {
  readonly sign: ' ' | '+' | '-'
  readonly line: string
  /** Counted from 1, in the text after. */
  readonly at: number
}

const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n')

/** By the longest common subsequence of what lies between the equal ends. */
function editsOf(old: readonly string[], fresh: readonly string[]): readonly Edit[] {
  let head = 0
  while (head < Math.min(old.length, fresh.length) && old[head] === fresh[head]) head += 1
  let tail = 0
  while (
    tail < Math.min(old.length, fresh.length) - head &&
    old[old.length - 1 - tail] === fresh[fresh.length - 1 - tail]
  )
    tail += 1
  const [gone, come] = [old.slice(head, old.length - tail), fresh.slice(head, fresh.length - tail)]
  const lengths = commonLengths(gone, come)
  const edits: Edit[] = fresh.slice(0, head).map((line, index) => ({ sign: ' ', line, at: index + 1 }))
  let [i, j] = [0, 0]
  while (i < gone.length || j < come.length) {
    const at = head + j + 1
    const [before, after] = [gone[i], come[j]]
    if (before !== undefined && before === after) {
      edits.push({ sign: ' ', line: before, at })
      i += 1
      j += 1
    } else if (before !== undefined && (after === undefined || lengths(i + 1, j) >= lengths(i, j + 1))) {
      edits.push({ sign: '-', line: before, at })
      i += 1
    } else {
      edits.push({ sign: '+', line: after ?? '', at })
      j += 1
    }
  }
  const rest = fresh.slice(fresh.length - tail)
  return [
    ...edits,
    ...rest.map((line, index): Edit => ({ sign: ' ', line, at: fresh.length - tail + index + 1 })),
  ]
}

// Above this the table would take long: then all that is gone is shown before all that came.
const cellsMax = 16_000_000

/** Length of the longest common subsequence of `a` from i and `b` from j on. */
function commonLengths(a: readonly string[], b: readonly string[]): (i: number, j: number) => number {
  const width = b.length + 1
  if ((a.length + 1) * width > cellsMax) return () => 0
  const table = new Uint32Array((a.length + 1) * width)
  const at = (i: number, j: number): number => table[i * width + j] ?? 0
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      table[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
  return at
}
