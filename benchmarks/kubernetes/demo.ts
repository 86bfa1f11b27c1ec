import { parseArgs } from 'node:util'
import { backendOf, sharedData } from '../support/shared.ts'
import { missesOf, tableOf } from './report.ts'
import { runKubernetes } from './run.ts'

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    share: { type: 'string', default: '0.1' },
    seed: { type: 'string', default: '1' },
    users: { type: 'string', default: '40' },
    queries: { type: 'string', default: '25' },
    data: { type: 'string' },
  },
})

const report = await runKubernetes({
  ...backendOf(process.env),
  data: values.data ?? sharedData('kubernetes', process.env),
  share: values.all ? 1 : Number(values.share),
  seed: Number(values.seed),
  people: Number(values.users),
  queriesEach: Number(values.queries),
  say: (text) => process.stderr.write(`${text}\n`),
})
console.log(tableOf(report))
const misses = missesOf(report)
for (const miss of misses) console.log(`Missed: ${miss}`)
process.exit(misses.length > 0 ? 1 : 0)
