/**
 * An incident that did not happen: two days at the demo company, in a service of their own, and afterwards
 * that service with its record for whoever wants to find out. docs/incident.md does.
 *
 *     npm run -s example -- incident [--home FOLDER] [--port PORT] [--ops-port PORT]
 *
 * REMIT_HOME and PORT are not looked at: they name the service that is in use.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import '../packages/console/prepare.ts'
import { loadConfig } from '../src/config/config.ts'
import { loadSample } from '../src/sample/load.ts'
import { giveSamplePasswords, samplePasswordsFile, seedSample } from '../src/sample/seed.ts'
import { type RunningService, start } from '../src/start.ts'
import { openActors } from './incident/actors.ts'
import { recordBy, takeOverClock } from './incident/clock.ts'
import { changed, leaked, type Moment, steps } from './incident/story.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const { values: chosen } = parseArgs({
  options: {
    home: { type: 'string', default: '.remit-incident' },
    port: { type: 'string', default: '8887' },
    'ops-port': { type: 'string', default: '8888' },
  },
})
const config = loadConfig({
  ...process.env,
  REMIT_HOME: chosen.home,
  PORT: chosen.port,
  OPS_PORT: chosen['ops-port'],
  PUBLIC_URL: undefined,
  // Two people for each change of the model, as outside a demo.
  MODEL_APPLY_APPROVERS: '2',
  DEMO_SAMPLE: 'false',
  // No model is there: words alone find what the story needs, and the same in each run.
  EMBEDDINGS_MODEL_PATH: here('incident'),
})
// It puts the clock of its process and of its record: nothing of that is for a database that others use.
if (!config.demo)
  throw new Error(
    'The story has a service of its own: unset DATABASE_URL, OPENFGA_API_URL, TRUSTED_ISSUERS and HOST.',
  )
const { home, publicUrl: url, port } = config
const told = join(home, 'story-told')
const isTold = existsSync(told)
const begun = join(home, 'story-begun')
if (existsSync(home) && !isTold)
  throw new Error(
    existsSync(begun)
      ? `The story was cut short: remove ${home} and start again.`
      : `${home} is not a folder of the story: it was made by something else. Name one that does not exist, with --home.`,
  )
await mkdir(home, { recursive: true, mode: 0o700 })
await writeFile(begun, 'yes\n')

const dayMs = 86_400_000
const today = Math.floor(Date.now() / dayMs) * dayMs
const at = ({ day, time }: Moment): number => today + (day - 3) * dayMs + Date.parse(`1970-01-01T${time}Z`)
const clock = takeOverClock()
if (!isTold) clock.put(at({ day: 0, time: '06:00' }))

const running = await start(config, {
  clock,
  log(event, fields) {
    if (event !== 'model_changed') console.error(JSON.stringify({ event, ...fields }))
  },
  fetch,
  print: () => undefined,
  isTerminal: false,
  onStorageLost: () => process.exit(1),
  onRefused: () => process.exit(1),
})
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void running[Symbol.asyncDispose]().then(() => process.exit(0)))
let commands: string[]
try {
  if (!isTold) await tell(running)
  commands = await toFindOut(running)
} catch (error) {
  // A service that runs on would keep the process, and its error, waiting.
  await running[Symbol.asyncDispose]()
  throw error
}
console.log(`
Two days at Wrenfield Dosing are on record. This morning somebody writes: “${leaked} leaked.”

Find out as docs/incident.md does, in another terminal:
  export REMIT_HOME=${home} PORT=${port}
${commands.map((command) => `  npm run -s remit -- ${command}`).join('\n')}
or in a browser, at ${url}/console, as lena. Passwords: ${samplePasswordsFile(home)}

Ctrl-C stops.`)

async function tell({ service, database }: RunningService): Promise<void> {
  const record = await recordBy(clock, database)
  const put = async (moment: number | undefined): Promise<void> => {
    // What happened until now is sealed at its own time.
    await service.record.seal()
    clock.put(moment)
    await record.follow()
    // As after any sleep: nobody is answered, and what it had read is old, until it has heard again.
    while ((await fetch(`${url}/docs`)).status === 503) await sleep(50)
    await service.index.catchUp()
  }
  const sample = await loadSample(here('../sample'), new Date())
  await seedSample(sample, { ...service, database, issuer: service.ownIssuer })
  await giveSamplePasswords(home, sample.people, { passwords: service.issuer.passwords, randomBytes })
  // What Kim has on her disk: her text, and the truth table that her plan ran.
  const model = changed(await readFile(here('../model.fga'), 'utf8'))
  await writeFile(join(home, 'model.fga'), model)
  await copyFile(here('../model.fga.yaml'), join(home, 'model.fga.yaml'))
  const actors = await openActors({ home, url, service, model })
  for (const step of steps) {
    await put(at(step))
    await actors.do(step)
  }
  await put(at({ day: 2, time: '23:00' }))
  // As a job of every night does, to a place that the database's administrator cannot write.
  const heads = await service.record.heads(0, 1_000)
  await writeFile(join(home, 'heads.ndjson'), heads.map((head) => `${JSON.stringify(head)}\n`).join(''))
  await put(undefined)
  await record.leave()
  await writeFile(told, 'yes\n')
}

/** The commands by which the page finds out, with this story's own days and ids. */
async function toFindOut({ database }: RunningService): Promise<string[]> {
  const [seen] = await database.query<{ txn: string; model: string; day: string; next: string }>(
    `select txn, detail->>'model_id' as model, to_char(at at time zone 'UTC' - interval '1 day', $2) as day,
       to_char(at at time zone 'UTC' + interval '1 day', $2) as next
     from decision_records where event = 'retrieved' and $1 = any(actors) and objects @> array['document:' || $3]
     order by record_no desc limit 1`,
    ['agent:brief-bot', 'YYYY-MM-DD"T00:00:00Z"', leaked],
  )
  if (seen === undefined) throw new Error('The story is not on record.')
  return [
    `audit verify --against ${join(home, 'heads.ndjson')}`,
    `audit readers ${leaked} --since ${seen.day} --until ${seen.next}`,
    `audit thread ${seen.txn}`,
    `model show ${seen.model} --as lena`,
  ]
}
