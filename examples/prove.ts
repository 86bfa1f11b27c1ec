/**
 * Looks for leaks in the running demo by `remit-prove`, as docs/prove.md says it. Makes what that needs: two
 * invented people, a collection for planted documents with a service that may write there, and files in
 * `.remit/prove`. Who may read what is asked of Remit's explanations, which do not search. Takes minutes, and
 * less with a higher RATE_PER_MINUTE. With the demo running:
 *
 *     npm run -s example -- prove [OPTIONS OF REMIT-PROVE]
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

// As for `npm start`: with ports or a folder of your own, set the same here.
const { PORT = '8787', PUBLIC_URL: api = `http://localhost:${PORT}`, REMIT_HOME = '.remit' } = process.env
const people = ['anne', 'bob', 'carol', 'dan', 'emil', 'fay', 'gita', 'hugo', 'ida', 'jon', 'kim', 'lena']
const questions = [
  'What went wrong in the March pump recall, and what did it cost?',
  'What is Project Gannet?',
  'What did the audit at Kestel find?',
  'What is our offer to Skellin County?',
  'What does band E pay?',
  'How much did Kestel pay?',
  'How do I change the tube of a D4?',
  'Is pump D4-26-0771 part of the recall?',
]

const inClone = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const commandLine = inClone('src/cli/main.ts')

async function remit(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [commandLine, ...args])
  return stdout.trim()
}

await remit('collection', 'add', 'canary', '--title', 'Planted by remit-prove')
await remit('service', 'add', 'prover', '--collection', 'canary')
for (const invented of ['prove-asker', 'prove-owner'])
  await remit('person', 'add', invented, '--name', invented)

const lena = await remit('token', '--user', 'lena')
const table = ['person,document']
for (const person of people) {
  const response = await fetch(`${api}/view-as`, {
    method: 'POST',
    headers: { authorization: `Bearer ${lena}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user: `user:${person}`, limit: 200 }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`POST /view-as: ${response.status} ${text}`)
  const { documents } = JSON.parse(text) as {
    readonly documents: readonly { readonly document_id: string }[]
  }
  table.push(...documents.map(({ document_id: id }) => `${person},${id}`))
}

const file = (name: string) => join(REMIT_HOME, 'prove', name)
await mkdir(file(''), { recursive: true })
for (const [name, lines] of Object.entries({ table, people, questions }))
  await writeFile(file(`${name}.txt`), lines.join('\n'))

const token = `'${process.execPath}' '${commandLine}' token`
const options = {
  remit: api,
  'token-command': `${token} --user "$PROVE_PERSON"`,
  'writer-token-command': `${token} --service prover`,
  table: file('table.txt'),
  people: file('people.txt'),
  questions: file('questions.txt'),
  'canary-people': 'prove-asker,prove-owner',
  collection: 'canary',
  'key-file': file('remit-prove.key'),
  json: file('report.json'),
}
const program = spawn(
  process.execPath,
  [
    inClone('packages/prove/src/cli.ts'),
    ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]),
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit' },
)
const [code] = await once(program, 'exit')
process.exitCode = Number(code ?? 1)
