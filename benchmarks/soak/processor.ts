import { readdirSync, readFileSync } from 'node:fs'

/** Milliseconds of all processors, by who took them. */
export interface Processor {
  /** Of processes that have a name. */
  readonly byName: ReadonlyMap<string, number>
  /** Of their main threads alone. */
  readonly main: ReadonlyMap<string, number>
  readonly idle: number
  readonly all: number
}

// What `/proc` counts in, on every machine that Node runs on.
const tickMs = 10

/** What was taken since the machine began. Linux alone tells. `nameOf`: by number, program and parent. */
export function processorNow(
  nameOf: (pid: number, program: string, parent: number) => string | undefined,
): Processor {
  const byName = new Map<string, number>()
  const main = new Map<string, number>()
  for (const entry of readdirSync('/proc')) {
    const one = /^\d+$/.test(entry) ? read(`/proc/${entry}/stat`) : undefined
    if (one === undefined) continue
    const name = nameOf(Number(entry), one.program, one.parent)
    if (name === undefined) continue
    byName.set(name, (byName.get(name) ?? 0) + one.ms)
    main.set(name, (main.get(name) ?? 0) + (read(`/proc/${entry}/task/${entry}/stat`)?.ms ?? 0))
  }
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1)
  // user, nice, system, idle, waiting for a disk, interrupts, others of the same hardware.
  const ticks = line.split(/\s+/).slice(1, 9).map(Number)
  const [idle, waiting] = [ticks[3] ?? 0, ticks[4] ?? 0]
  return {
    byName,
    main,
    idle: tickMs * (idle + waiting),
    all: tickMs * ticks.reduce((sum, one) => sum + one),
  }
}

/** Of a process or thread, with what its ended children took; undefined where it has ended itself. */
function read(
  path: string,
): { readonly program: string; readonly parent: number; readonly ms: number } | undefined {
  try {
    const text = readFileSync(path, 'utf8')
    const [from, to] = [text.indexOf('('), text.lastIndexOf(')')]
    const fields = text
      .slice(to + 2)
      .split(' ')
      .map(Number)
    const ms = tickMs * fields.slice(11, 15).reduce((sum, one) => sum + one)
    return { program: text.slice(from + 1, to), parent: fields[1] ?? 0, ms }
  } catch {
    return undefined
  }
}
