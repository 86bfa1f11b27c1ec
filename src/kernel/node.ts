import { Worker } from 'node:worker_threads'
import { OperatorError } from './operator-error.ts'

/**
 * Refuses a Node that cannot say what a thread costs: without that a document may take a core for ever.
 * Throws `OperatorError`. `Worker.cpuUsage` came with Node 24.6.
 */
export function assertNode(): void {
  if (typeof Worker.prototype.cpuUsage === 'function') return
  throw new OperatorError(
    `Remit runs on Node 24.6 or newer, and this is Node ${process.versions.node}. "npm start" and "npm run remit" use the project's own.`,
  )
}
