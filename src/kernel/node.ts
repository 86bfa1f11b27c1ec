import * as crypto from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { OperatorError } from './operator-error.ts'

/**
 * Refuses a Node that cannot say what a thread costs, without which a document may take a core for ever, or
 * that cannot hash passwords. Throws `OperatorError`. `Worker.cpuUsage` came with Node 24.6 and `argon2` with
 * 24.7; Node 22 has the first alone.
 */
export function assertNode(): void {
  if (typeof Worker.prototype.cpuUsage === 'function' && 'argon2' in crypto) return
  throw new OperatorError(
    `Remit runs on Node 24.7 or newer, and this is Node ${process.versions.node}. Run \`npm rebuild node\` in this folder, then the same command again.`,
  )
}
