// A process that stores a row after the other in an embedded database, and says each one that was
// acknowledged.
import { setTimeout as pause } from 'node:timers/promises'
import { openPglite } from '../../src/store/pglite.ts'

const [dataDir = '', socketDir = ''] = process.argv.slice(2)
const database = await openPglite({
  dataDir,
  socketDir,
  unansweredMs: 200,
  onLost: (reason) => {
    process.stdout.write(`lost: ${reason}\n`)
    process.exit(1)
  },
})
await database.query('create table if not exists kept (no int primary key, text text)')
const rows = await database.query<{ no: number }>(
  'select no from kept where length(text) = 10000 order by no',
)
process.stdout.write(`found: ${rows.map(({ no }) => no).join(' ')}\n`)
for (let no = rows.length; no < rows.length + 2_000; no++) {
  // On a full disk it may be refused, or never be answered.
  const isKept = await database.query('insert into kept values ($1, $2)', [no, 'x'.repeat(10_000)]).then(
    () => true,
    () => false,
  )
  if (!isKept) continue
  process.stdout.write(`kept: ${no}\n`)
  await pause(5)
}
