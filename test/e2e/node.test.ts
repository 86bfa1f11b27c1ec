import { expect, test } from 'vitest'
import { freshSettings, startServiceAfter } from './process.ts'

test('refuses in one sentence to start where Node cannot say what a thread costs', async () => {
  await using settings = await freshSettings(undefined)
  const asBefore24_6 = `import { Worker } from 'node:worker_threads'; delete Worker.prototype.cpuUsage`
  await using service = startServiceAfter(asBefore24_6, settings.env)
  expect(await service.exit).toEqual({ code: 1, signal: null })
  expect(service.stderr()).toBe(
    `Remit runs on Node 24.7 or newer, and this is Node ${process.versions.node}. Run \`npm rebuild node\` in this folder, then the same command again.\n`,
  )
})
