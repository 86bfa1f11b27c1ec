import { spawn } from 'node:child_process'

/**
 * Tokens come one by one from a helper of the operator's: it is started for one person, finds the name in
 * PROVE_PERSON, and prints the token within half a minute; PROVE_AGAIN=1: the one before was refused. Nothing
 * here can make one.
 */
export const commandTokens =
  (command: string, env: Readonly<Record<string, string | undefined>>) =>
  (person: string, isAgain: boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const helper = spawn(command, {
        shell: true,
        stdio: ['ignore', 'pipe', 'inherit'],
        timeout: 30_000,
        env: { ...env, PROVE_PERSON: person, PROVE_AGAIN: isAgain ? '1' : '' },
      })
      let said = ''
      helper.stdout.setEncoding('utf8').on('data', (part: string) => {
        said += part
      })
      helper.once('error', reject)
      helper.once('close', (code) => {
        const token = said.trim()
        // Whatever else a header cannot hold would be quoted by an error.
        if (code === 0 && /^[\x21-\x7e]+$/.test(token)) resolve(token)
        else reject(new Error(`The token helper ended with ${code}, and has to print one line: a token.`))
      })
    })
