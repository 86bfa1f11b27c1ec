import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SourceUnavailable } from '@remit/connector'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createShell, SessionEnded } from '../../../src/sources/kinds/smb/shell.ts'
import { needs } from '../../support/native.ts'

/** Takes commands as Samba's programs do. */
const program = `#!/bin/sh
while IFS= read -r line; do
  case "$line" in
    slow) for i in 1 2 3 4 5 6 7; do echo "row $i"; sleep 0.4; done ;;
    silent) exec sleep 30 ;;
    late) echo 'NT_STATUS_IO_TIMEOUT listing x' ;;
    named) echo '  NT_STATUS_IO_TIMEOUT listing x' ;;
    grow) exec head -c 70000000 /dev/zero >"$0.content" ;;
    refused) echo 'session setup failed: NT_STATUS_LOGON_FAILURE'; exit 1 ;;
    *) echo "$line: command not found" ;;
  esac
done
`

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'remit-shell-'))
  writeFileSync(join(folder, 'program'), program)
  chmodSync(join(folder, 'program'), 0o755)
})
afterAll(() => rmSync(folder, { recursive: true }))

const open = (begin?: string, probe?: string) =>
  createShell({
    ...{
      program: join(folder, 'program'),
      target: 'fs',
      account: 'anne',
      password: 'secret',
      silenceMs: 2_500,
    },
    ...(begin !== undefined && { begin }),
    ...(probe !== undefined && { probe }),
  })

// Side by side: most of the time each waits.
describe.concurrent(
  'a program of Samba’s',
  needs(process.platform === 'linux', 'Linux, with coreutils and util-linux'),
  () => {
    test('may take as long as it likes while it says something', async () => {
      expect(await open().ask('slow')).toBe('row 1\nrow 2\nrow 3\nrow 4\nrow 5\nrow 6\nrow 7\n')
    })

    test.each([['silent'], ['late']])(
      'that gives no answer to %s is begun anew for the next question',
      async (question) => {
        const shell = open()
        await expect(shell.ask(question)).rejects.toBeInstanceOf(SessionEnded)
        expect(await shell.ask('named')).toBe('  NT_STATUS_IO_TIMEOUT listing x\n')
      },
    )

    test('that gives none to five questions in turn is away', async () => {
      const shell = open()
      for (let time = 1; time < 5; time += 1)
        await expect(shell.ask('late')).rejects.toBeInstanceOf(SessionEnded)
      await expect(shell.ask('late')).rejects.toBeInstanceOf(SourceUnavailable)
      const other = open()
      for (let time = 1; time < 10; time += 1) {
        await expect(other.ask('late')).rejects.toBeInstanceOf(SessionEnded)
        await other.ask('named')
      }
    })

    test('that answers anything else is not away, however many questions in turn have no answer', async () => {
      const shell = open('', 'anything')
      for (let time = 1; time < 8; time += 1)
        await expect(shell.ask('late')).rejects.toBeInstanceOf(SessionEnded)
      const away = open('', 'late')
      for (let time = 1; time < 5; time += 1)
        await expect(away.ask('late')).rejects.toBeInstanceOf(SessionEnded)
      await expect(away.ask('late')).rejects.toBeInstanceOf(SourceUnavailable)
    })

    test('that is not let in is away, and says why', async () => {
      await expect(open('refused').ask('named')).rejects.toEqual(
        expect.objectContaining({
          name: 'SourceUnavailable',
          message: expect.stringContaining('LOGON_FAILURE'),
        }),
      )
      await expect(open('silent').ask('named')).rejects.toBeInstanceOf(SourceUnavailable)
    })

    test('writes no more of a file that grows than is brought', async () => {
      const shell = open()
      await expect(shell.ask('grow')).rejects.toBeInstanceOf(SessionEnded)
      expect(statSync(join(folder, 'program.content')).size).toBe(50_000_001)
      expect(await shell.ask('named')).toContain('listing')
    })

    test('is ended where the reading is stopped', async () => {
      const stop = new AbortController()
      const asked = open().ask('silent', stop.signal)
      setTimeout(() => stop.abort(new Error('stopped')), 100)
      await expect(asked).rejects.toThrow('stopped')
    })
  },
)
