#!/usr/bin/env node
import { failureCode } from './cli/exit-code.ts'
import { assertNode } from './kernel/node.ts'

// Before anything else is loaded: an older Node lacks modules that it needs, and would name one of those.
try {
  assertNode()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : 'This Node is too old.'}\n`)
  process.exit(failureCode(process.argv.slice(2)))
}
await import('./cli/main.ts')
