import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { native } from './native.ts'
import { freePort } from './port.ts'

/** Some nodes of one OpenSearch, each a process of its own on this machine. */
export interface OpensearchNodes extends AsyncDisposable {
  /** Their origins, in the order of their numbers. */
  readonly urls: readonly string[]
  /** Ends the node as `kill -9` does. */
  kill(node: number): Promise<void>
  /** Starts a node again that was killed, with the data that it had. */
  start(node: number): void
  /**
   * Resolves when the cluster, asked at this node, has all of its nodes and every copy. Rejects after two
   * minutes.
   */
  whole(node?: number): Promise<void>
  /** Milliseconds of processor time that all nodes together have taken so far, in steps of ten. */
  processorTime(): number
}

const wholeMs = 300_000
const nobody = 65_534
const script = new URL('../../.ci/opensearch', import.meta.url).pathname

/** Starts them. Throws where the program is not here (`OPENSEARCH_PATH`). */
export async function startOpensearchNodes(count: number): Promise<OpensearchNodes> {
  const { opensearchProgram: program } = native
  if (program === undefined)
    throw new Error('Set OPENSEARCH_PATH and OPENSEARCH_JAVA: .ci/services says both.')
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'remit-nodes-'))
  stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  // It starts for no superuser.
  await chmod(folder, 0o777)
  const ports = await Promise.all(Array.from({ length: count }, freePort))
  const transports = await Promise.all(Array.from({ length: count }, freePort))
  const urls = ports.map((port) => `http://127.0.0.1:${port}`)
  const processes: ChildProcess[] = []
  const start = (node: number): void => {
    const data = join(folder, String(node))
    const place = [data, String(ports[node]), String(transports[node]), transports.join()]
    processes[node] = spawn('bash', [script, 'run', program.folder, ...place], {
      stdio: 'ignore',
      cwd: folder,
      env: { ...process.env, OPENSEARCH_JAVA: program.java },
      ...(process.getuid?.() === 0 && { uid: nobody, gid: nobody }),
    })
  }
  const kill = async (node: number): Promise<void> => {
    const one = processes[node]
    if (one === undefined || one.exitCode !== null || one.signalCode !== null) return
    one.kill('SIGKILL')
    await once(one, 'exit')
  }
  stack.defer(async () => {
    await Promise.all(processes.map((_, node) => kill(node)))
  })
  for (const node of urls.keys()) start(node)
  const whole = async (node = 0): Promise<void> => {
    const path = `/_cluster/health?wait_for_nodes=${count}&wait_for_status=green&timeout=5s`
    const until = performance.now() + wholeMs
    while (
      !(await fetch(`${urls[node]}${path}`).then(
        ({ ok }) => ok,
        () => false,
      ))
    ) {
      if (performance.now() > until) throw new Error('The nodes of OpenSearch do not come together.')
      await sleep(200)
    }
  }
  await whole()
  const owned = stack.move()
  return {
    urls,
    kill,
    start,
    whole,
    processorTime: () =>
      processes.reduce((sum, { pid }) => sum + (pid === undefined ? 0 : ticksOf(pid)), 0) * 10,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Hundredths of a second, in user and kernel mode. 0 of a process that has gone. */
function ticksOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return Number(fields[11]) + Number(fields[12])
  } catch {
    return 0
  }
}
