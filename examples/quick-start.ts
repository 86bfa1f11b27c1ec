/**
 * From `npm start` to a first answer with its source. Brings a document in, together with who may read it;
 * asks as a person, as somebody else, and as an agent that works for a person; then takes the access away.
 * With the demo running:
 *
 *     npm run -s example -- quick-start
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

// As for `npm start`: with ports or a folder of your own, set the same here.
const { PORT = '8787', PUBLIC_URL: api = `http://localhost:${PORT}` } = process.env

/** A command at the machine, as you would type it: `npm run -s remit -- …`. */
async function remit(...args: readonly string[]): Promise<string> {
  console.log(`$ remit ${args.join(' ')}`)
  const { stdout } = await promisify(execFile)(process.execPath, ['src/cli/main.ts', ...args])
  return stdout.trim()
}

async function send(method: string, path: string, token: string, body: object): Promise<unknown> {
  const response = await fetch(`${api}${path}`, {
    method,
    // Published, and no longer found where it must not be, when the answer is there.
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
  console.log(`${method} ${path}: ${response.status}`)
  return text === '' ? undefined : JSON.parse(text)
}

async function ask(token: string): Promise<readonly string[]> {
  const question = { query: 'Where was the otter?', collections: ['notes'] }
  const { results } = (await send('POST', '/retrieve', token, question)) as {
    readonly results: readonly {
      readonly document_id: string
      readonly title: string
      readonly text: string
    }[]
  }
  for (const { document_id, title, text } of results) console.log(`  "${text}" [${document_id}, ${title}]`)
  if (results.length === 0) console.log('  (nothing)')
  return results.map(({ document_id }) => document_id)
}

// 1. Where documents are filed, which lets nobody read them, and a service that may file some there.
await remit('collection', 'add', 'notes', '--title', 'Notes', '--organization', 'wrenfield')
await remit('service', 'add', 'note-taker', '--collection', 'notes')
const scribe = await remit('token', '--service', 'note-taker')

// 2. Content and access go in together.
await send('PUT', '/documents/notes%2Fotter', scribe, {
  collection: 'notes',
  title: 'Otters',
  text: 'Anne saw an otter by the river.',
  access: { viewers: ['user:anne'] },
})

// 3. Anne finds it, Bob does not; her agent does, since she lent it what her organization has.
const agent = await remit('token', '--user', 'anne', '--agent', 'research-bot')
assert.deepEqual(await ask(await remit('token', '--user', 'anne')), ['notes/otter'])
assert.deepEqual(await ask(await remit('token', '--user', 'bob')), [])
assert.deepEqual(await ask(agent), ['notes/otter'])

// 4. What is taken away is gone for everybody, under every token that is out.
await send('PUT', '/documents/notes%2Fotter/access', scribe, { viewers: [] })
assert.deepEqual(await ask(agent), [])
