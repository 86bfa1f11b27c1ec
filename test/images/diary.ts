import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import {
  type Agent,
  addAgent,
  addPerson,
  answer,
  atHome,
  clientKey,
  exchanged,
  lend,
  type Person,
} from './people.ts'
import type { Stand } from './stand.ts'

const texts = { anne: 'An otter was seen by the river.', both: 'An otter was seen at the mill.' }
export const mayRead: Readonly<Record<string, readonly string[]>> = {
  anne: [texts.both, texts.anne],
  bob: [texts.both],
}

/** A deployment at its public address, with an authority that clients trust there. */
export interface Place {
  readonly stand: Stand
  readonly url: string
  readonly ca: string
}

/** A collection of two passages, and an agent that two people lent it to: Anne may read both, Bob one. */
export interface Diary {
  readonly people: readonly Person[]
  readonly agent: Agent
  /** Sends the texts, with who may read that of both. */
  ingest(ofBoth: readonly string[]): Promise<void>
  /** Sends a folder of more texts, by name, with who may read them. */
  send(folder: string, texts: Readonly<Record<string, string>>, readers: readonly string[]): Promise<void>
  /** What the agent finds for each person who signs in. */
  found(): Promise<Readonly<Record<string, readonly string[]>>>
  /** Asks for each of them until it is ended. */
  ask(): Questions
}

export interface Questions extends AsyncDisposable {
  /** How often somebody had what they may read, and what else came. */
  end(): Promise<{ readonly answered: number; readonly failed: readonly string[] }>
}

/** Resolves when the public address answers. */
export async function answers({ url, stand }: Pick<Place, 'url' | 'stand'>): Promise<void> {
  const started = performance.now()
  const status = async () => (await fetch(`${url}/healthz`).catch(() => undefined))?.status
  await expect.poll(status, { timeout: 240_000, interval: 500 }).toBe(200)
  stand.transcript.push(`# answers after ${((performance.now() - started) / 1000).toFixed(1)} s`)
}

/** Makes all of it, by commands in a container and from a machine that has nothing but the address. */
export async function keepDiary({ stand, url, ca }: Place): Promise<Diary> {
  const { cli, folder, inside } = stand
  const people: Person[] = []
  for (const user of ['anne', 'bob']) people.push({ user, password: await addPerson(stand, user) })
  await cli('collection', 'add', 'diary', '--title', 'Diary')
  await cli('service', 'add', 'scribe', '--collection', 'diary')
  const { jwk, jwks } = await clientKey()
  const add = 'client add scribe-app --kind service --of scribe --title Scribe --jwks /dev/stdin'
  await inside(['node', 'src/cli/main.js', ...add.split(' ')], jwks)
  writeFileSync(join(folder, 'scribe-app.key.json'), JSON.stringify(jwk), { mode: 0o600 })
  async function send(
    name: string,
    files: Readonly<Record<string, string>>,
    readers: readonly string[],
  ): Promise<void> {
    mkdirSync(join(folder, name), { recursive: true })
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, `${file}.txt`), text)
    const scribe = `--collection diary --client scribe-app --key scribe-app.key.json --url ${url}`
    const viewers = readers.map((one) => `--viewer user:${one}`).join(' ')
    const count = Object.keys(files).length
    const said = await atHome(folder, ca, `ingest ${name} ${scribe} ${viewers}`.split(' '))
    expect(said).toContain(`${count} of ${count} file`)
  }
  async function ingest(ofBoth: readonly string[]): Promise<void> {
    await send('anne', { anne: texts.anne }, ['anne'])
    await send('both', { both: texts.both }, ofBoth)
  }
  await ingest(['anne', 'bob'])
  const agent = await addAgent(stand, 'helper')
  for (const person of people) await lend(url, agent, person, 'collection:diary')

  return {
    people,
    agent,
    ingest,
    send,
    async found() {
      const all: Record<string, readonly string[]> = {}
      for (const person of people) all[person.user] = await answer(url, await exchanged(url, agent, person))
      stand.transcript.push(`# the agent finds ${JSON.stringify(all)}`)
      return all
    },
    ask() {
      const [ended, failed]: [AbortController, string[]] = [new AbortController(), []]
      let [answered, longest] = [0, 0]
      const asking = people.map(async (person) => {
        let token = await exchanged(url, agent, person)
        for (let turn = 1; !ended.signal.aborted; turn += 1) {
          const started = performance.now()
          try {
            // One token does not live long enough.
            if (turn % 100 === 0) token = await exchanged(url, agent, person)
            expect(await answer(url, token)).toEqual(mayRead[person.user])
            answered += 1
          } catch (error) {
            failed.push(`${new Date().toISOString()} ${person.user} ${String(error)}`)
          }
          longest = Math.max(longest, performance.now() - started)
          await sleep(250)
        }
      })
      const end = async () => {
        ended.abort()
        await Promise.all(asking)
        return { answered, failed }
      }
      return {
        async end() {
          await end()
          const seconds = (longest / 1000).toFixed(1)
          const line = `# ${answered} questions were answered, the longest in ${seconds} s, and ${failed.length} failed`
          stand.transcript.push(line, ...failed)
          return { answered, failed }
        },
        [Symbol.asyncDispose]: async () => void (await end()),
      }
    },
  }
}
