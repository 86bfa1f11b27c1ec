import { Pool } from 'undici'

/** What the process that asks is told. */
export interface Asked {
  readonly port: number
  readonly host: string
  readonly token: string
  readonly bodies: readonly string[]
  readonly times: number
  readonly clients: number
}

/** Milliseconds. */
export interface Took {
  readonly each: readonly number[]
  readonly all: number
}

const pools = new Map<number, Pool>()

process.on('message', (asked: Asked) => {
  void ask(asked).then((took) => process.send?.(took))
})

async function ask({ port, host, token, bodies, times, clients }: Asked): Promise<Took> {
  const pool = pools.get(port) ?? new Pool(`http://127.0.0.1:${port}`, { connections: 64 })
  pools.set(port, pool)
  const each: number[] = []
  let begun = 0
  const from = performance.now()
  const client = async (): Promise<void> => {
    while (begun < times) {
      const body = bodies[begun % bodies.length] ?? ''
      begun += 1
      const sent = performance.now()
      const answer = await pool.request({
        path: '/retrieve',
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', host },
        body,
      })
      const answered = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${answered}`)
      each.push(performance.now() - sent)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return { each, all: performance.now() - from }
}
