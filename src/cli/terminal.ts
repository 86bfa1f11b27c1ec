/** Where a command writes. stdout carries the answer and nothing else; people are told on stderr. */
export interface Terminal {
  out(line: string): void
  /** Part of an answer, as it comes. */
  write(text: string): void
  /** A line for people. */
  say(line: string): void
  /** A bar that is drawn over and over where stderr is a terminal, and nothing elsewhere. */
  progress(done: number, total: number, what: string): void
}

export interface TerminalStreams {
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean }
}

const width = 24
const clear = '\r\u001b[K'

export function createTerminal({ stdout, stderr }: TerminalStreams): Terminal {
  let drawn = false
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
    progress(done, total, what) {
      if (stderr.isTTY !== true) return
      const filled = total === 0 ? width : Math.round((width * Math.min(done, total)) / total)
      stderr.write(
        `${clear}[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${done}/${total} ${printable(what)}`,
      )
      drawn = true
    },
  }
}

// A file's name may hold control characters, which a terminal would obey.
const printable = (text: string): string => text.replaceAll(/\p{C}/gu, '?').slice(0, 40)
