/**
 * A source of your own: the kind of `source/kind.ts` brings the pages of another system, with who may read
 * them there, and follows what changes. With the demo running:
 *
 *     npm run -s example -- source
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { createRemit, createWriter, staticToken } from '@remit/client'
import { memoryState, syncOnce } from '@remit/connector'
import { notesKind } from './source/kind.ts'
import { openNotes } from './source/notes.ts'

const { PORT = '8787', PUBLIC_URL: url = `http://localhost:${PORT}` } = process.env

/** A command at the machine, as you would type it: `npm run -s remit -- …`. */
async function remit(...args: readonly string[]): Promise<string> {
  console.log(`$ remit ${args.join(' ')}`)
  const { stdout } = await promisify(execFile)(process.execPath, ['src/cli/main.ts', ...args])
  return stdout.trim()
}

// 1. The other system.
const notes = openNotes('its-key')
notes.groups.set('rangers', ['a.berg'])
notes.put('otter', { title: 'Otters', text: 'An otter was seen by the river.', readers: ['@rangers'] })
const system = await notes.listen()

// 2. Where its pages are filed, and a service that may write them, and groups under a prefix of its own.
await remit('collection', 'add', 'field-notes', '--title', 'Field notes')
await remit('service', 'add', 'field-notes', '--collection', 'field-notes', '--prefix', 'field-notes/')
const token = await remit('token', '--service', 'field-notes')
const writer = createWriter({ url, token: async () => token })

// 3. The source. In the service, `remit source add` opens it, with a fetch that reaches its origin alone.
const people = [
  { account: 'a.berg', subject: 'user:anne' },
  { account: 'b.moor', subject: 'user:bob' },
]
const source = notesKind.read({ url: system, people }).open({
  prefix: 'field-notes/',
  collections: ['field-notes'],
  secret: 'its-key',
  titleOf: async () => undefined,
  async fetch(path, { headers = {} } = {}) {
    const response = await fetch(new URL(path, system), { headers })
    const body = new Uint8Array(await response.arrayBuffer())
    return { status: response.status, headers: response.headers, body }
  },
})
const state = memoryState()
async function sync(): Promise<void> {
  const { imported, withdrawn, failed } = await syncOnce(source, writer, state)
  console.log(`imported ${imported}, withdrawn ${withdrawn}, failed ${failed.length}`)
}

async function finds(person: string): Promise<readonly string[]> {
  const mine = staticToken({ subject: person, token: await remit('token', '--user', person) })
  const { results } = await createRemit({ url, token: mine })
    .for({ subject: person })
    .retrieve({ query: 'Where was the otter?', collections: ['field-notes'] })
  const texts = results.map(({ text }) => text)
  const name = `${person[0]?.toUpperCase()}${person.slice(1)}`
  console.log(`${name} finds ${texts.map((text) => `“${text}”`).join(', ') || 'nothing.'}`)
  return texts
}

// 4. Each finds what the system lets them read.
await sync()
assert.equal((await finds('anne')).length, 1)
assert.equal((await finds('bob')).length, 0)

// 5. And what it lets them read now: no page changed, and nothing is brought anew.
notes.groups.set('rangers', ['b.moor'])
await sync()
assert.equal((await finds('anne')).length, 0)
assert.equal((await finds('bob')).length, 1)
notes.close()
