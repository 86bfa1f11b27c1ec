import { availableParallelism, loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { native } from '../../test/support/native.ts'
import { openPair } from '../../test/support/pair.ts'
import { startCluster } from '../../test/support/patroni.ts'
import { type Load, openLoad } from './load.ts'
import { startOpenfga } from './openfga.ts'

/**
 * Two processes of the service and two nodes of OpenFGA on one cluster of Postgres under Patroni, under load,
 * while its primary fails: `kill`, SIGKILL for Patroni and Postgres, which come back once another one leads;
 * `freeze`, SIGSTOP for all of them, which go on once another one leads. With `--late 2` OpenFGA reads its
 * log from a node that is two seconds behind. Then everything that was acknowledged is looked for. Ends with
 * 1 where anything was lost or came back, an answer was neither right nor a refusal, or a refusal took longer
 * than 45 s. Needs `.ci/services`.
 */
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: 'kill,freeze' }, late: { type: 'string' } },
})
const kinds = ['publish', 'withdraw', 'unshare', 'revoke', 'grant', 'code', 'read', 'token', 'search']
const refusalMsMax = 45_000
const openfgaProgram = native.openfgaProgram
if (openfgaProgram === undefined) throw new Error('Set OPENFGA_PATH.')

const beganAt = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - beganAt) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
function judge(isKept: boolean, figure: string): void {
  console.log(`${isKept ? 'kept' : 'MISSED'}: ${figure}`)
  if (!isKept) process.exitCode = 1
}

const isLate = values.late !== undefined
await using cluster = await startCluster(isLate ? { lateSeconds: Number(values.late) } : {})
await using openfga = await startOpenfga(openfgaProgram, cluster, isLate ? 'late' : undefined)
await using pair = await openPair({
  databaseUrl: cluster.url,
  openfga,
  env: { OPENFGA_SECONDARY: isLate ? 'present' : 'none' },
})
say(
  `${isLate ? `Three nodes and one ${values.late} s behind` : 'Three nodes'}, two of OpenFGA, two of Remit; ${availableParallelism()} cores; logs: ${cluster.folder}`,
)
const load = await openLoad(pair)
for (const round of values.rounds.split(',')) await fail(round, load)

async function fail(round: string, { attempts, acknowledged, back, ...load }: Load): Promise<void> {
  await load.stock()
  say(`${round}: the load begins`)
  load.start()
  await sleep(8_000)
  const before = await cluster.primary()
  const since = performance.now()
  if (round === 'kill') cluster.kill(before)
  else cluster.freeze(before)
  await newPrimary(before)
  say(`${round}: another one leads after ${((performance.now() - since) / 1_000).toFixed(1)} s`)
  // The frozen one believes that it leads, until its own Patroni looks.
  if (round === 'kill') cluster.start(before)
  else cluster.thaw(before)
  await sleep(15_000)
  await cluster.whole()
  say(`${round}: three nodes again after ${((performance.now() - since) / 1_000).toFixed(1)} s`)
  await load.stop()
  const [done, refused] = [attempts.count('done', since), attempts.count('refused', since)]
  say(`${round}: ${done} answers and ${refused} refusals since; load ${loadavg()[0]?.toFixed(0)}`)
  await load.compare('all')
  const sizes = Object.entries(acknowledged).map(([what, all]) => `${what} ${all.size}`)
  console.log(`acknowledged: ${sizes.join(', ')}`)
  judge(
    back.size === 0,
    `lost or back: ${[...back].map(([what, n]) => `${what} × ${n}`).join('; ') || 'nothing'}`,
  )
  const { wrong } = attempts
  judge(
    wrong.size === 0,
    `wrong answers: ${[...wrong].map(([what, n]) => `${what} × ${n}`).join('\n') || 'none'}`,
  )
  const longest = kinds.map((kind) => [kind, attempts.longestRefusal(kind, since)] as const)
  judge(
    longest.every(([, ms]) => ms <= refusalMsMax),
    `longest refusal: ${longest.map(([kind, ms]) => `${kind} ${(ms / 1_000).toFixed(1)} s`).join(', ')}`,
  )
}

async function newPrimary(before: string): Promise<void> {
  for (const end = Date.now() + 90_000; Date.now() < end; await sleep(100))
    if ((await cluster.primary().catch(() => before)) !== before) return
  throw new Error('No other one leads.')
}
