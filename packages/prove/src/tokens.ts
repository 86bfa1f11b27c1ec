import { spawn } from 'node:child_process'
import { Inconclusive } from './session.ts'

/**
 * Tokens come one by one from a helper of the operator's: it is started for one person, finds the name in
 * PROVE_PERSON, and prints the token within half a minute; PROVE_AGAIN=1: the one before was refused. Nothing
 * here can make one.
 */
export const commandTokens =
  (command: string, env: Readonly<Record<string, string | undefined>>, limitMs = 30_000) =>
  (person: string, isAgain: boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const helper = spawn(command, {
        shell: true,
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...env, PROVE_PERSON: person, PROVE_AGAIN: isAgain ? '1' : '' },
      })
      const fail = (why: string) => reject(new Inconclusive(`The token helper ${why}.`))
      // Its own end may not come: what it started can go on, and keep its output open.
      const limit = setTimeout(() => {
        helper.kill()
        helper.stdout.destroy()
        fail(`took longer than ${limitMs / 1000} s`)
      }, limitMs)
      let said = ''
      helper.stdout.setEncoding('utf8').on('data', (part: string) => {
        said += part
      })
      helper.once('error', reject)
      helper.once('close', (code, signal) => {
        clearTimeout(limit)
        const token = said.trim()
        // Whatever else a header cannot hold would be quoted by an error.
        if (code === 0 && /^[\x21-\x7e]+$/.test(token)) resolve(token)
        else fail(`ended with ${signal ?? code}, and has to print one line: a token`)
      })
    })
