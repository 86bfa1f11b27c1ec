import { buildIfOlder } from './build.ts'

// Esbuild is slow to start on a busy machine, and nothing else has been said yet.
const telling = setTimeout(() => process.stderr.write('Building the console.\n'), 2_000)
// Before the service, which works without its console: an installation without tools for development builds
// elsewhere.
try {
  await buildIfOlder()
} catch (error) {
  process.stderr.write(
    `The console was not built: ${error instanceof Error ? error.message : 'thrown value'}\n`,
  )
} finally {
  clearTimeout(telling)
}
