import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort } from '../../test/support/port.ts'

/**
 * The demo's first and second start as `npm start` has them, without npm itself: seconds until it answers,
 * seconds of processor and megabytes then and after `--seconds` more, and the most it ever held. Linux alone.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '75' },
    /** Another checkout, started in turn. */
    against: { type: 'string' },
  },
})

async function started(checkout: string, home: string): Promise<string> {
  const { scripts } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8')) as {
    readonly scripts: { readonly start: string }
  }
  const ports = { PORT: String(await freePort()), OPS_PORT: String(await freePort()) }
  const from = performance.now()
  const service = spawn('sh', ['-c', `exec env ${scripts.start}`], {
    cwd: checkout,
    env: { ...process.env, ...ports, REMIT_HOME: home },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(service, 'exit')
  await new Promise<void>((ready, failed) => {
    let said = ''
    service.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString()
      if (said.includes('Ctrl-C stops.')) ready()
    })
    service.on('exit', () => failed(new Error(said)))
  })
  const wall = (performance.now() - from) / 1_000
  const then = await heldBy(service.pid)
  await sleep(Number(values.seconds) * 1_000)
  const later = await heldBy(service.pid)
  service.kill('SIGTERM')
  await exited
  return [wall.toFixed(1), then.processor, then.resident, later.resident, later.most].join(' | ')
}

async function heldBy(pid: number | undefined) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const megabytes = (name: string) =>
    (Number(status.split(`${name}:`)[1]?.trim().split(' ', 1)[0]) / 1_024).toFixed(0)
  // After the name, which may hold spaces, from the 12th on: user and system time in hundredths, then those
  // of the process that seeded. The most is of the other one alone.
  const times = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  return {
    processor: (times.slice(11, 15).reduce((sum, time) => sum + Number(time), 0) / 100).toFixed(1),
    resident: megabytes('VmRSS'),
    most: megabytes('VmHWM'),
  }
}

console.log(
  `checkout | start | s until it answers | s of processor | MB then | ${values.seconds} s later | most`,
)
for (let round = 0; round < Number(values.rounds); round++) {
  for (const checkout of [values.against, '.'].filter((path) => path !== undefined)) {
    const home = await mkdtemp(join(tmpdir(), 'remit-start-'))
    try {
      for (const which of ['first', 'second'])
        console.log(`${checkout} | ${which} | ${await started(resolve(checkout), home)}`)
    } finally {
      await rm(home, { recursive: true, force: true })
    }
  }
}
