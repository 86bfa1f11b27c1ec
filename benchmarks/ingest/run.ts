import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ask, quantile, shown } from './asking.ts'
import { readDocuments } from './documents.ts'
import { createPrograms, type Ingesting } from './programs.ts'
import { compareStored } from './stored.ts'

/**
 * `remit ingest` of a folder into the demo with everything embedded, both as programs of their own. The
 * folder holds the shortest real documents of at least so many characters, so that 300 take minutes. Phases:
 * `first`, always; `unchanged`, the same again; `questions`, bob's, alone and while documents come into
 * another collection; `kills` (SIGKILL) of the service at a third of that one, which is started again, and of
 * the command at two thirds, which is run again; then the store is compared with the first's. Ends with 1
 * where a judgement of {@link judge} fails, each of which it says.
 */
const phases = ['first', 'unchanged', 'questions', 'kills']
const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '300' },
    characters: { type: 'string', default: '6000' },
    questions: { type: 'string', default: '60' },
    only: { type: 'string', default: phases.join() },
    data: { type: 'string', default: process.env['REMIT_SHARED'] ?? '../shared' },
  },
})
const [files, questions, charactersMin] = [values.files, values.questions, values.characters].map((given) => {
  if (!/^[1-9]\d{0,5}$/.test(given)) throw new RangeError(`No number from 1 on: ${given}`)
  return Number(given)
}) as [number, number, number]
// A p95 of fewer says nothing.
const answersMin = Math.min(20, questions)
const only = values.only.split(',')
for (const phase of only) if (!phases.includes(phase)) throw new RangeError(`No phase: ${phase}`)

const say = (text: string): void => console.log(`${text} (load ${loadavg()[0]?.toFixed(0)})`)
/** Says a figure, and ends with 1 where it is not as promised. What is no number is never as promised. */
function judge(isKept: boolean, figure: string): void {
  console.log(`${isKept ? 'kept' : 'MISSED'}: ${figure}`)
  if (!isKept) process.exitCode = 1
}

await using stack = new AsyncDisposableStack()
const root = await mkdtemp(join(tmpdir(), 'remit-bench-'))
stack.defer(() => rm(root, { recursive: true, force: true }))
const [folder, home] = [join(root, 'folder'), join(root, 'home')]
await mkdir(folder)
const texts = readDocuments(values.data, files, charactersMin)
if (texts.length < files) throw new RangeError(`There are ${texts.length} documents of that length.`)
// In the order in which they are sent.
const nameOf = (index: number): string => `${String(index).padStart(6, '0')}.md`
for (const [index, text] of texts.entries()) await writeFile(join(folder, nameOf(index)), text)
const programs = stack.use(await createPrograms(home))

await programs.startService()
for (const name of ['once', 'killed']) await programs.remit('collection', 'add', name, '--title', name)
await programs.remit('service', 'add', 'scribe', '--collection', 'once', '--collection', 'killed')
say(
  `${files} files of ${texts[0]?.length} to ${texts.at(-1)?.length} characters, ${availableParallelism()} cores`,
)

/** Ingests to the end. Gives seconds, passages that were embedded, and what the command said last. */
async function whole(collection: string) {
  const [since, before] = [performance.now(), await programs.embedded()]
  const said = await programs.ingest(folder, collection).ended
  const seconds = (performance.now() - since) / 1_000
  const embedded = (await programs.embedded()) - before
  return { seconds, embedded, last: said.split('\n').at(-1) ?? '' }
}

const first = await whole('once')
say(`first: ${first.seconds.toFixed(1)} s, ${first.embedded} passages embedded: ${first.last}`)
judge(
  first.last.startsWith(`${files} of ${files} files are in once`) && first.last.includes(' 0 failed'),
  `${files} documents in`,
)
judge(first.embedded >= files, 'a passage embedded for each of them at least')
if (only.includes('unchanged')) await unchanged()
if (only.includes('questions') || only.includes('kills')) await intoAnother()

async function unchanged(): Promise<void> {
  const again = await whole('once')
  const ratio = again.seconds / first.seconds
  say(`unchanged: ${again.seconds.toFixed(1)} s: ${again.last}`)
  judge(again.last.includes(`(${files} unchanged)`), 'all of them told as unchanged')
  judge(ratio <= 0.1, `unchanged ÷ first ${ratio.toFixed(3)}, at most 0.1`)
  judge(again.embedded === 0, `${again.embedded} passages embedded in the unchanged run, 0`)
}

async function intoAnother(): Promise<void> {
  const third = Math.floor(files / 3)
  const token = await programs.remit('token', '--user', 'bob')
  const alone = only.includes('questions')
    ? await ask(programs.url, token, (count) => count >= questions)
    : undefined
  const run = programs.ingest(folder, 'killed')
  await reached(run, 0)
  let isKilled = false
  const asking = alone && ask(programs.url, token, (count) => isKilled || count >= questions)
  await reached(run, third)
  isKilled = true
  const meanwhile = await asking
  if (alone && meanwhile) {
    say(`alone: ${shown(alone)}`)
    say(`while documents come in: ${shown(meanwhile)}`)
    const ratio = quantile(meanwhile, 0.95) / quantile(alone, 0.95)
    console.log(`p95 while documents come in ÷ alone: ${ratio.toFixed(2)}`)
    judge(
      meanwhile.ms.length >= answersMin,
      `${meanwhile.ms.length} questions answered meanwhile, ${answersMin} at least`,
    )
    judge(alone.bad + meanwhile.bad === 0, `${alone.bad + meanwhile.bad} questions without an answer, 0`)
  }
  if (only.includes('kills')) await kills(run, third, 2 * third)
}

/**
 * Resolves once bob can read the document of that place, or the command ended. The command itself tells every
 * five seconds only.
 */
async function reached(run: Ingesting, index: number): Promise<void> {
  const headers = { authorization: `Bearer ${await programs.remit('token', '--user', 'bob')}` }
  const address = `${programs.url}/documents/${encodeURIComponent(`killed/${nameOf(index)}`)}`
  while (run.isRunning()) {
    const { status } = await fetch(address, { headers })
    if (status === 200) return
    if (status !== 404) throw new Error(`The document ${index} was answered with ${status}.`)
    await sleep(250)
  }
}

async function kills(run: Ingesting, third: number, twoThirds: number): Promise<void> {
  judge(run.isRunning(), `the service killed with ${third} of ${files} in`)
  await programs.killService()
  await programs.startService()
  await reached(run, twoThirds)
  judge(await run.kill(), `the command killed with ${twoThirds} of ${files} in`)
  const { seconds, last } = await whole('killed')
  say(`the rest: ${seconds.toFixed(1)} s: ${last}`)
  judge(
    last.startsWith(`${files} of ${files} files are in killed`) && last.includes(' 0 failed'),
    `${files} documents in`,
  )
  await programs.killService()
  const found = await compareStored(home, 'once', 'killed')
  say(`${found.documents} documents of ${found.passages} passages, ${found.begunAgain} documents begun again`)
  judge(found.documents === files, `${found.documents} documents stored, ${files}`)
  judge(found.missing === 0, `${found.missing} missing after the kills, 0`)
  judge(found.twice === 0, `${found.twice} there twice after the kills, 0`)
  judge(found.withoutVector === 0, `${found.withoutVector} passages without a vector, 0`)
  judge(found.leftOver === 0, `${found.leftOver} rows left over, 0`)
}
