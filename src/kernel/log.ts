/** One line of the operator's log. Fields hold no token, no document text and no query. */
export type Log = (event: string, fields?: Readonly<Record<string, unknown>>) => void

// Longer than any reason of ours; a stack is the one thing that has to be.
const fieldMax = 1_000
const stackMax = 8_000
const lineMax = 20_000

/**
 * One line as it is written. Each string is cut, and so is the line: whatever a caller gets into a field, by
 * a library's message or a field that is added one day, nobody fills a disk with it.
 */
export function logLine(at: Date, event: string, fields: Readonly<Record<string, unknown>> = {}): string {
  const line = JSON.stringify({ at, event, ...fields }, (name, value: unknown) =>
    typeof value === 'string' ? cut(value, name === 'stack' ? stackMax : fieldMax) : value,
  )
  return line.length <= lineMax ? line : JSON.stringify({ at, event, cut: line.slice(0, lineMax / 2) })
}

const cut = (text: string, max: number): string => (text.length <= max ? text : `${text.slice(0, max)}…`)
