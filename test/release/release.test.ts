import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Lock, licenceList, shippedOf } from '../../scripts/licences.ts'
import { native } from '../support/native.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

describe('what a version ships', () => {
  const read = async () => JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock

  test('is what is installed with it or is inside, each with a licence, and none of our own tools', async () => {
    const lock = await read()
    const shipped = shippedOf(lock, 'preact 11.2.0 (MIT)\n\nText (of 1.2.3) here')
    const names = new Set([...shipped].map((one) => one.replace(/@[^@]*$/, '')))
    for (const name of ['hono', 'zod', 'jose', '@electric-sql/pglite', '@bufbuild/cel', 'preact'])
      expect([name, names.has(name)]).toEqual([name, true])
    for (const name of ['vitest', 'typescript', 'esbuild', 'uplot', 'knip'])
      expect([name, names.has(name)]).toEqual([name, false])
    const lines = licenceList(lock, shipped).trim().split('\n')
    expect(lines.length).toBeGreaterThanOrEqual(shipped.size)
    expect(lines.filter((line) => !/^\S+@\S+\t\S/.test(line) || line.endsWith('none named'))).toEqual([])
  })
})

// Two builds from two clones take minutes.
if (process.env['PACKAGE_INSTALLS'] !== undefined && native.pythonClient !== undefined)
  describe('npm run release', () => {
    let folder: string
    const clones: string[] = []
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'remit-release-'))
      clones.push(join(folder, 'one'), join(folder, 'elsewhere', 'another'))
      for (const clone of clones) {
        await mkdir(dirname(clone), { recursive: true })
        await run('git', ['clone', '--quiet', '--no-hardlinks', root, clone])
        // In the clone, as `npm ci` has it: the console's file names come of where its sources lie.
        const modules = `'${join(root, 'node_modules')}' '${join(clone, 'node_modules')}'`
        await run('sh', ['-c', `cp -al ${modules} || cp -a ${modules}`])
        const site = join(native.pythonClient ?? '', 'site')
        await run('npm', ['run', 'release'], { cwd: clone, env: { ...process.env, PYTHONPATH: site } })
      }
    }, 900_000)
    afterAll(() => rm(folder, { recursive: true, force: true }))

    test('gives one commit the same digests in two clones, and the digests are those of its files', async () => {
      const [one = '', another] = await Promise.all(
        clones.map((clone) => readFile(join(clone, 'release', 'SHA256SUMS'), 'utf8')),
      )
      expect(another).toBe(one)
      const lines = one.trim().split('\n')
      const names = lines.map((line) => line.slice(66).replace(/\d+\.\d+\.\d+/, 'VERSION'))
      expect(names).toEqual([
        'licences.txt',
        'remit-VERSION.tgz',
        'remit-client-VERSION.tgz',
        'remit-connector-VERSION.tgz',
        'remit-engine-VERSION.tgz',
        'remit-prove-VERSION.tgz',
        'remit_client-VERSION-py3-none-any.whl',
        'remit_client-VERSION.tar.gz',
        'sbom.cdx.json',
      ])
      for (const line of lines) {
        const file = await readFile(join(clones[0] ?? '', 'release', line.slice(66)))
        expect(createHash('sha256').update(file).digest('hex')).toBe(line.slice(0, 64))
      }
    })

    test('lists in CycloneDX what is shipped, and leaves the clone as it was', async () => {
      const clone = clones[0] ?? ''
      const { bomFormat, components, dependencies } = JSON.parse(
        await readFile(join(clone, 'release', 'sbom.cdx.json'), 'utf8'),
      ) as {
        readonly bomFormat: string
        readonly components: readonly { readonly name: string }[]
        readonly dependencies: readonly { readonly dependsOn: readonly string[] }[]
      }
      expect(bomFormat).toBe('CycloneDX')
      const names = components.map(({ name }) => name)
      expect(names).toEqual(expect.arrayContaining(['hono', 'zod', 'preact', '@remit/engine']))
      expect(names).not.toContain('vitest')
      expect(dependencies.length).toBe(components.length + 1)
      const { stdout } = await run('git', ['status', '--porcelain'], { cwd: clone })
      expect(stdout).toBe('')
    })

    test('builds the wheel from the Python sources that it gives away, as from the clone', async () => {
      const from = join(folder, 'sources')
      await mkdir(from)
      const sources = join(clones[0] ?? '', 'release')
      await run('sh', ['-c', `tar xzf ${sources}/remit_client-*.tar.gz -C ${from} --strip-components=1`])
      const env = { ...process.env, PYTHONPATH: join(native.pythonClient ?? '', 'site') }
      await run('python3', ['-m', 'hatchling', 'build', '-t', 'wheel', '-d', from], { cwd: from, env })
      const listed = (path: string) =>
        run('sh', ['-c', `python3 -m zipfile -l ${path}/*.whl | awk '{print $1}'`]).then(
          ({ stdout }) => stdout,
        )
      expect(await listed(from)).toBe(await listed(sources))
    })
  })
