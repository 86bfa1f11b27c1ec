import { version } from '../../src/kernel/version.ts'
import { versionOf } from './people.ts'
import type { Stand } from './stand.ts'

/** The version that {@link TwoProcesses.newer} says that it is. */
export const newerVersion = '99.0.0'

/** The processes of docker-compose.two.yml. */
export type Process = 'remit' | 'remit-2'

/** Both of them, behind the proxy. */
export interface TwoProcesses {
  /** Has the proxy ask those alone; without a name, both. */
  ask(...only: readonly Process[]): Promise<void>
  /** Takes one out, stops it, and makes its container anew from an image. */
  start(which: Process, image: string): Promise<void>
  /** The same, and waits until it is well. */
  replace(which: Process, image: string): Promise<void>
  /** Makes an image of this version that calls itself newer. */
  newer(image: string, from: string): Promise<void>
  /** The versions of those that the proxy asks. */
  versions(): Promise<readonly string[]>
}

export function twoProcesses(stand: Stand, project: string, url: string): TwoProcesses {
  const { compose, podman } = stand
  async function ask(...only: readonly Process[]): Promise<void> {
    const env = only.flatMap((one) => ['--env', `REMIT_PROCESSES=${one}:8787`])
    const reload = ['caddy', 'reload', '--config', '/etc/caddy/Caddyfile']
    await podman('exec', ...env, `${project}_proxy_1`, ...reload)
  }
  async function start(which: Process, image: string): Promise<void> {
    const named = `localhost/${project}_${which}`
    const before = (await podman('image', 'inspect', '--format', '{{.Id}}', named)).trim()
    await ask(which === 'remit' ? 'remit-2' : 'remit')
    // `docker compose up` does this for a new image. podman-compose would replace the proxy too.
    await compose('stop', which)
    await podman('logs', `${project}_${which}_1`)
    await podman('rm', `${project}_${which}_1`)
    await podman('tag', image, named)
    await compose('up', '--detach', '--no-build', '--no-deps', which)
    // As IMAGES=built takes it the next time.
    await podman('tag', before, named)
  }
  return {
    ask,
    start,
    async replace(which, image) {
      await start(which, image)
      await stand.healthy(`${project}_${which}_1`)
    },
    async newer(image, from) {
      await stand.derive(image, from, `sed -i s/${version}/${newerVersion}/ src/kernel/version.js`)
    },
    async versions() {
      const seen = new Set<string>()
      for (let times = 0; times < 30; times += 1) seen.add(await versionOf(url))
      return [...seen]
    },
  }
}
