/**
 * What turns one text into another, line by line as `diff -u` shows it, without its header; '' where they are
 * equal.
 */
export function diffLines(oldText: string, newText: string): string {
  const [old, newLines] = [linesOf(oldText), linesOf(newText)]
  const edits = editsOf(old, newLines)
  const near = edits.map((_, index) =>
    edits.slice(Math.max(0, index - around), index + around + 1).some(({ sign }) => sign !== ' '),
  )
  const output: string[] = []
  for (const [index, { sign, line, newLine }] of edits.entries()) {
    if (!near[index]) continue
    if (index === 0 || !near[index - 1]) output.push(`@@ line ${newLine} @@`)
    output.push(`${sign}${line}`)
  }
  return output.join('\n')
}

const around = 3

interface Edit {
  readonly sign: ' ' | '+' | '-'
  readonly line: string
  /** Counted from 1, in the text after. */
  readonly newLine: number
}

const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n')

/** By the longest common subsequence of what lies between the equal ends. */
function editsOf(old: readonly string[], newLines: readonly string[]): readonly Edit[] {
  let head = 0
  while (head < Math.min(old.length, newLines.length) && old[head] === newLines[head]) head += 1
  let tail = 0
  while (
    tail < Math.min(old.length, newLines.length) - head &&
    old[old.length - 1 - tail] === newLines[newLines.length - 1 - tail]
  )
    tail += 1
  const [removed, come] = [old.slice(head, old.length - tail), newLines.slice(head, newLines.length - tail)]
  const lengths = commonLengths(removed, come)
  const edits: Edit[] = newLines
    .slice(0, head)
    .map((line, index) => ({ sign: ' ', line, newLine: index + 1 }))
  let [i, j] = [0, 0]
  while (i < removed.length || j < come.length) {
    const newLine = head + j + 1
    const [oldLine, addedLine] = [removed[i], come[j]]
    if (oldLine !== undefined && oldLine === addedLine) {
      edits.push({ sign: ' ', line: oldLine, newLine })
      i += 1
      j += 1
    } else if (oldLine !== undefined && (addedLine === undefined || lengths(i + 1, j) >= lengths(i, j + 1))) {
      edits.push({ sign: '-', line: oldLine, newLine })
      i += 1
    } else {
      edits.push({ sign: '+', line: addedLine ?? '', newLine })
      j += 1
    }
  }
  const tailLines = newLines.slice(newLines.length - tail)
  return [
    ...edits,
    ...tailLines.map(
      (line, index): Edit => ({ sign: ' ', line, newLine: newLines.length - tail + index + 1 }),
    ),
  ]
}

// Above this the table would take long: then all that is gone is shown before all that came.
const cellsMax = 16_000_000

/** Length of the longest common subsequence of `a` from i and `b` from j on. */
function commonLengths(a: readonly string[], b: readonly string[]): (i: number, j: number) => number {
  const width = b.length + 1
  if ((a.length + 1) * width > cellsMax) return () => 0
  const table = new Uint32Array((a.length + 1) * width)
  const lengthAt = (i: number, j: number): number => table[i * width + j] ?? 0
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      table[i * width + j] =
        a[i] === b[j] ? lengthAt(i + 1, j + 1) + 1 : Math.max(lengthAt(i + 1, j), lengthAt(i, j + 1))
  return lengthAt
}
