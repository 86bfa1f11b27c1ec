import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { styleText } from 'node:util'

/** Where a person types, or a file of lines in their place. */
export interface Terminal extends Disposable {
  /** The next line; undefined: there are no more, or it was stopped. */
  ask(prompt: string): Promise<string | undefined>
  /** A line of the program's own, also while the person types. */
  note(text: string): void
  /** What the assistant says. */
  say(text: string): void
}

export interface TerminalOptions {
  readonly input: Readable
  readonly output: Writable & { readonly isTTY?: boolean }
  readonly onInterrupt: () => void
}

export function openTerminal({ input, output, onInterrupt }: TerminalOptions): Terminal {
  const isTerminal = output.isTTY === true
  const lines = createInterface({ input, ...(isTerminal && { output }), terminal: isTerminal })
  lines.on('SIGINT', onInterrupt)
  // Begun before anything is waited for: lines that come meanwhile are kept.
  const each = lines[Symbol.asyncIterator]()
  let asking = false

  function write(text: string): void {
    // A line that the person is typing goes on below.
    output.write(`${isTerminal && asking ? '\r\u001b[K' : ''}${text}\n`)
    if (isTerminal && asking) lines.prompt(true)
  }

  return {
    async ask(prompt) {
      lines.setPrompt(styled('bold', prompt, output))
      asking = true
      if (isTerminal) lines.prompt()
      const { value, done } = await each.next()
      asking = false
      if (done === true) return undefined
      const line = String(value).trim()
      if (!isTerminal) output.write(`${prompt}${line}\n`)
      return line
    },
    note: (text) => write(styled('dim', text.replaceAll(/^/gm, '· '), output)),
    say: (text) => write(text),
    [Symbol.dispose]: () => lines.close(),
  }
}

/** Colours where the output is a terminal that has them (NO_COLOR is heard). */
const styled = (format: 'bold' | 'dim', text: string, output: TerminalOptions['output']): string =>
  output.isTTY === true ? styleText(format, text, { stream: output as NodeJS.WriteStream }) : text
