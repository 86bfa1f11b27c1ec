import { writeFile } from 'node:fs/promises'

/** A file whose milliseconds are by how much a process's clock is wrong; that of `settings` follows it. */
export interface PutClock {
  /** Settings of a process of ours. */
  readonly settings: Readonly<Record<string, string>>
  /** Within 200 ms the process's clock is wrong by so many milliseconds. */
  put(ms: number): Promise<void>
}

/** The process's clock, and only its own: timers, `performance` and the database's go on. It starts right. */
export async function openPutClock(file: string): Promise<PutClock> {
  const put = (ms: number) => writeFile(file, String(ms))
  await put(0)
  return {
    settings: {
      PUT_CLOCK: file,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(putting)}`,
    },
    put,
  }
}

/** An ES module that runs before all others. */
const putting = `
  import { readFileSync } from 'node:fs'
  const Real = Date
  let off = 0
  const look = () => {
    try { off = Number(readFileSync(process.env.PUT_CLOCK, 'utf8')) } catch {}
  }
  look()
  setInterval(look, 200).unref()
  const now = () => Real.now() + off
  globalThis.Date = new Proxy(Real, {
    construct: (of, given, as) => Reflect.construct(of, given.length === 0 ? [now()] : given, as),
    get: (of, name) => (name === 'now' ? now : of[name]),
  })
`
