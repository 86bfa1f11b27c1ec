import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const folder = join(import.meta.dirname, '../../..')
// As npx finds it: the link in node_modules, and the project's own Node before the machine's.
const bin = join(folder, 'node_modules/.bin/remit-fga')
const env = { ...process.env, PATH: `${join(folder, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}` }

async function ended(...args: readonly string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  try {
    return { code: 0, ...(await promisify(execFile)(bin, [...args], { env })) }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string }
    return { code, stdout, stderr }
  }
}

async function statusFor(url: string, host: string): Promise<number | undefined> {
  const asked = request(`${url}/healthz`, { headers: { host } })
  asked.end()
  const [response] = await once(asked, 'response')
  response.resume()
  return response.statusCode
}

test('npx remit-fga serves on loopback, to its own names only, says where, and says when it cannot', async () => {
  const child = spawn(bin, ['--port', '0'], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [said] = await once(child.stdout, 'data')
    const url = /http:\/\/127\.0\.0\.1:(\d+)/.exec(String(said))
    expect(url).not.toBeNull()
    const [address = '', port = ''] = url ?? []
    expect(await statusFor(address, `localhost:${port}`)).toBe(200)
    // A page of the web whose name was made to lead here.
    expect(await statusFor(address, `evil.example:${port}`)).toBe(421)
    expect(await ended('--port', port)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('EADDRINUSE'),
    })
  } finally {
    child.kill()
    await once(child, 'exit')
  }
})

test.each([
  [['--port', 'nonsense'], 'is no port'],
  [['--nope'], '--nope'],
])('%s ends with 2, a sentence and how it is used', async (args, sentence) => {
  const { code, stderr } = await ended(...args)
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(sentence) })
  expect(stderr).toContain('remit-fga [--port 8080]')
  expect(stderr).not.toContain('    at ')
})
