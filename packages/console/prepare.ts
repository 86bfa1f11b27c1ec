import { buildIfOlder } from './build.ts'

// Before the service, which works without its console: an installation without tools for development builds elsewhere.
try {
  await buildIfOlder()
} catch (error) {
  process.stderr.write(
    `The console was not built: ${error instanceof Error ? error.message : 'thrown value'}\n`,
  )
}
