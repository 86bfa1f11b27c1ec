import { createInterface } from 'node:readline'
import { printable } from '../kernel/printable.ts'

/** Where a command writes. stdout carries the answer and nothing else; people are told on stderr. */
export interface Terminal {
  out(line: string): void
  /** Part of an answer, as it comes. */
  write(text: string): void
  /** A line for people. */
  say(line: string): void
  /** The line that somebody types in answer; undefined where nobody sits at a terminal, or they end it. */
  ask(question: string): Promise<string | undefined>
  /**
   * A bar that is drawn over and over where stderr is a terminal, and elsewhere a line every five seconds.
   */
  progress(done: number, total: number, what: string): void
}

/** The streams of a terminal; a test brings its own. */
export interface TerminalStreams {
  readonly stdin?: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean }
}

const width = 24
const clear = '\r\u001b[K'

const lineEveryMs = 5_000

/** Writes answers to standard output, and everything else to standard error. */
export function createTerminal(
  { stdin, stdout, stderr }: TerminalStreams,
  now: () => number = Date.now,
): Terminal {
  let drawn = false
  let toldAt: number | undefined
  return {
    out(line) {
      stdout.write(`${line}\n`)
    },
    write(text) {
      stdout.write(text)
    },
    say(line) {
      stderr.write(`${drawn ? clear : ''}${line}\n`)
      drawn = false
    },
    async ask(question) {
      if (stdin?.isTTY !== true || stderr.isTTY !== true) return undefined
      stderr.write(`${question} `)
      const lines = createInterface({ input: stdin })
      try {
        const { value, done: isEnded } = await lines[Symbol.asyncIterator]().next()
        return isEnded === true ? undefined : value.trim()
      } finally {
        lines.close()
      }
    },
    progress(doneCount, total, noun) {
      if (stderr.isTTY !== true) {
        toldAt ??= now()
        if (now() - toldAt < lineEveryMs) return
        toldAt = now()
        stderr.write(`${doneCount} of ${total}: ${printable(noun).slice(0, nameLengthMax)}\n`)
        return
      }
      const filled = total === 0 ? width : Math.round((width * Math.min(doneCount, total)) / total)
      stderr.write(
        `${clear}[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${doneCount}/${total} ${printable(noun).slice(0, nameLengthMax)}`,
      )
      drawn = true
    },
  }
}

const nameLengthMax = 40
