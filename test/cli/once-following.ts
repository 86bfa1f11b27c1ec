import { setTimeout as pause } from 'node:timers/promises'
import type { World } from '../support/world.ts'

type App = Pick<World['service']['app'], 'request'>

/**
 * Asks the service in this process, and again while the answer says that the replica was late for it: on a
 * machine that stands still for a moment it may, and then rests on less.
 */
export const onceFollowing =
  (app: App): typeof fetch =>
  async (input, init) => {
    for (let left = 100; ; left -= 1) {
      const response = await app.request(String(input), init)
      if (left === 0 || !(await isLate(response))) return response
      await pause(100)
    }
  }

async function isLate(response: Response): Promise<boolean> {
  return /"replica":\{"state":"(behind|building)"/.test(await response.clone().text())
}
