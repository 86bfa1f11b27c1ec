import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { native } from '../../support/native.ts'

/** A Redmine of its own, empty, in a process of its own. */
export interface RedmineServer extends AsyncDisposable {
  readonly url: string
  /** Runs a line of Ruby inside it, with `args`, and gives what that comes to. */
  ruby<T>(code: string, shape: z.ZodType<T>, args?: object): Promise<T>
}

const application = '/usr/share/redmine'

export async function openRedmineServer(): Promise<RedmineServer> {
  const folder = mkdtempSync(join(tmpdir(), 'remit-redmine-'))
  for (const name of ['config', 'files', 'log', 'tmp', 'public']) mkdirSync(join(folder, name))
  const database = join(folder, 'redmine.db')
  copyFileSync(native.redmineDatabase ?? '', database)
  writeFileSync(
    join(folder, 'config/database.yml'),
    `production:\n  adapter: sqlite3\n  database: ${database}\n  timeout: 20000\n  pool: 1\n  checkout_timeout: 60\n`,
  )
  writeFileSync(join(folder, 'config/secret_key.txt'), randomBytes(32).toString('hex'))
  const key = randomBytes(16).toString('hex')
  const options = ['-s', 'webrick', '-o', '127.0.0.1', '-p', '0', '-E', 'production']
  const child = spawn(
    'ruby',
    ['-rwebrick', '-S', 'rackup', ...options, join(import.meta.dirname, 'redmine.ru')],
    {
      cwd: application,
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        LANG: 'C.UTF-8',
        BUNDLE_GEMFILE: join(application, 'Gemfile'),
        // Its folder, from the one in which Debian's Redmine looks for its instances.
        REDMINE_INSTANCE: `../../../..${folder}`,
        DRIVER_KEY: key,
        RUBY_GC_HEAP_INIT_SLOTS: '1500000',
        RUBY_GC_MALLOC_LIMIT: '200000000',
        RUBY_GC_OLDMALLOC_LIMIT: '400000000',
      },
      stdio: ['pipe', 'ignore', 'pipe'],
    },
  )
  const end = async () => {
    child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${await portOf(child).catch(async (error: unknown) => {
    await end()
    throw error
  })}`
  return {
    url,
    async ruby(code, shape, args = {}) {
      const response = await fetch(`${url}/driver`, {
        method: 'POST',
        headers: { 'x-driver-key': key },
        body: JSON.stringify({ ruby: code, args }),
      })
      const text = await response.text()
      if (!response.ok) throw new Error(`${code}\n${text}`)
      return z.object({ result: shape }).parse(JSON.parse(text)).result
    },
    [Symbol.asyncDispose]: end,
  }
}

/** As WEBrick says it once it listens. */
function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = ''
    child.stderr?.on('data', (data: Buffer) => {
      said = (said + data.toString()).slice(-10_000)
      const port = /WEBrick::HTTPServer#start: pid=\d+ port=(\d+)/.exec(said)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`Redmine ended: ${said}`)))
  })
}
