import { cp, mkdir, readdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const modules = join(root, 'node_modules')
const isOurs = (path: string): boolean => !/\/(node_modules|dist|test)$/.test(path)

/** Copies the workspace, without tests, for what changes files in it: other tests run meanwhile. */
export async function copyWorkspace(to: string): Promise<void> {
  for (const name of await readdir(root))
    if (!['.git', '.remit', 'benchmarks', 'node_modules', 'dist', 'test', 'release'].includes(name))
      await cp(join(root, name), join(to, name), { recursive: true, filter: isOurs })
  await mkdir(join(to, 'node_modules', '@remit'), { recursive: true })
  for (const name of await readdir(modules))
    if (name !== '@remit') await symlink(join(modules, name), join(to, 'node_modules', name))
  for (const name of await readdir(join(to, 'packages')))
    await symlink(join(to, 'packages', name), join(to, 'node_modules', '@remit', name))
}
