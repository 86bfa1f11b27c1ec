import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { administer } from '../../test/support/administer.ts'
import type { Cluster } from '../../test/support/patroni.ts'
import { freePort } from '../../test/support/port.ts'

/** Two nodes of OpenFGA on a database of the cluster, behind a balancer. */
export interface Openfga extends AsyncDisposable {
  readonly url: string
  readonly token: string
}

/** `secondary`: the node that it reads its log and more from, past the balancer. */
export async function startOpenfga(
  program: string,
  cluster: Cluster,
  secondary: string | undefined,
): Promise<Openfga> {
  await using stack = new AsyncDisposableStack()
  const token = randomBytes(12).toString('hex')
  const uriOf = (url: string) =>
    `${Object.assign(new URL(url), { pathname: '/openfga' }).href}?sslmode=disable`
  await administer(cluster.url, 'create database openfga')
  const env = {
    OPENFGA_DATASTORE_ENGINE: 'postgres',
    OPENFGA_DATASTORE_URI: uriOf(cluster.url),
    ...(secondary !== undefined && { OPENFGA_DATASTORE_SECONDARY_URI: uriOf(cluster.urlOf(secondary)) }),
    OPENFGA_DATASTORE_MAX_OPEN_CONNS: '10',
    OPENFGA_AUTHN_METHOD: 'preshared',
    OPENFGA_AUTHN_PRESHARED_KEYS: token,
    OPENFGA_PLAYGROUND_ENABLED: 'false',
    OPENFGA_METRICS_ENABLED: 'false',
    OPENFGA_LOG_LEVEL: 'none',
    OPENFGA_RESOLVE_NODE_BREADTH_LIMIT: '1',
  }
  execFileSync(program, ['migrate'], { env, stdio: 'ignore' })
  const ports = [await freePort(), await freePort()]
  for (const port of ports) {
    const node = spawn(program, ['run'], {
      stdio: 'ignore',
      env: {
        ...env,
        OPENFGA_HTTP_ADDR: `127.0.0.1:${port}`,
        OPENFGA_GRPC_ADDR: `127.0.0.1:${await freePort()}`,
      },
    })
    stack.defer(async () => {
      const ended = once(node, 'exit')
      if (node.kill('SIGKILL')) await ended
    })
  }
  const url = await cluster.balance(ports)
  const answers = () =>
    fetch(`${url}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    )
  for (let tries = 0; !(await answers()); tries += 1) {
    if (tries > 150) throw new Error('OpenFGA does not answer.')
    await sleep(200)
  }
  const owned = stack.move()
  return { url, token, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
