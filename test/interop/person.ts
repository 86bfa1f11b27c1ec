import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect } from 'vitest'
import type { Page } from '../delegation/issuer/browser.ts'
import type { IssuerWorld } from '../delegation/issuer/world.ts'
import { decide } from '../support/approvals.ts'

/** What a program says on a line: `shows` names the steps (see table.ts) that the rest of it proves. */
export type Said = Readonly<Record<string, unknown>>

/**
 * Anne, who sits at programs of others: she follows the addresses that they show, lends the handbook, enters
 * codes and decides what they ask for.
 */
export function createPerson(world: IssuerWorld) {
  const browser = world.browser()
  const lend = (page: Page) => world.consent(browser, page, { objects: ['collection:handbook'] })

  async function atDevice(url: string, code: string): Promise<void> {
    const entry = await browser.open(url)
    const confirm = await browser.submit(entry, '/oauth/device', { user_code: code })
    await lend(await browser.submit(confirm, '/oauth/device'))
  }

  /** What the program hears; undefined: it waits for nothing. */
  async function answer(line: string, all: Said[]): Promise<string | undefined> {
    // A program with a browser and a port of its own: the browser comes back there.
    if (line.startsWith('http')) {
      const { url } = await lend(await browser.open(line))
      expect(url.hostname).toBe('localhost')
      expect((await fetch(url)).status).toBe(200)
      return undefined
    }
    const said = JSON.parse(line) as Said
    if ('open' in said) return (await lend(await browser.open(String(said['open'])))).url.href
    if ('decide' in said) {
      const id = String(said['decide']).split('/').at(-1) ?? ''
      return (await decide(world.service, id, { answer: 'approve' })) ?? ''
    }
    if ('device' in said) {
      await atDevice(String(said['device']), String(said['code']))
      return ''
    }
    all.push(said)
    return undefined
  }

  return {
    /**
     * Runs a program to its end; gives what it said, but for what she had to do. Fails where the program
     * does.
     */
    async run(
      [command = '', ...args]: readonly string[],
      env: Readonly<Record<string, string | undefined>> = {},
    ): Promise<Said[]> {
      const child = spawn(command, args, { env: { PATH: process.env['PATH'], ...env } })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      const ended = once(child, 'close')
      const all: Said[] = []
      try {
        for await (const line of createInterface(child.stdout)) {
          const heard = await answer(line, all)
          if (heard !== undefined) child.stdin.write(`${heard}\n`)
        }
        const [code] = await ended
        if (code !== 0) throw new Error(`It ended with ${String(code)}.`)
        return all
      } catch (cause) {
        child.kill()
        throw new Error(`After ${JSON.stringify(all)}:\n${stderr}`, { cause })
      }
    },
  }
}
