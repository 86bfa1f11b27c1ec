#!/usr/bin/env node
import { randomUUID } from 'node:crypto'
import { resolve } from 'node:path'
import { loadConfig, settings } from '../config.ts'
import { systemClock } from '../kernel/clock.ts'
import { reembedStored, withService } from '../start.ts'
import { createAdminClient } from './admin-client.ts'
import { runCli } from './program.ts'
import { createTerminal } from './terminal.ts'

/** Only what finds the service is read here: the service itself may run under other settings than this shell. */
const { REMIT_HOME, PORT, PUBLIC_URL } = settings
  .pick({ REMIT_HOME: true, PORT: true, PUBLIC_URL: true })
  .parse(process.env)

process.exitCode = await runCli(process.argv.slice(2), {
  admin: createAdminClient({
    home: resolve(REMIT_HOME),
    withService: (work) =>
      withService(loadConfig(process.env), { clock: systemClock, log: () => undefined, fetch }, work),
  }),
  terminal: createTerminal(process),
  reembed: (onProgress) =>
    reembedStored(loadConfig(process.env), { isTerminal: process.stderr.isTTY, onProgress }),
  fetch,
  publicUrl: PUBLIC_URL ?? `http://localhost:${PORT}`,
  envToken: process.env['REMIT_TOKEN'],
  newKey: randomUUID,
  now: Date.now,
})
