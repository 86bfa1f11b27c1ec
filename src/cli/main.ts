#!/usr/bin/env node
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { loadConfig, settings } from '../config.ts'
import { systemClock } from '../kernel/clock.ts'
import { createAdminClient } from './admin-client.ts'
import { runCli } from './program.ts'
import { createTerminal } from './terminal.ts'

// As in src/main.ts: a command may make the folder's files.
process.umask(0o077)

if (existsSync('.env')) process.loadEnvFile('.env')

// Loaded when it is needed: most commands only speak to the running service, and need not wait for all of it.
const wholeService = () => import('../start.ts')

/** Only what finds the service is read here: the service itself may run under other settings than this shell. */
const { REMIT_HOME, PORT, PUBLIC_URL, OPENFGA_API_URL, OPENFGA_API_TOKEN } = settings
  .pick({ REMIT_HOME: true, PORT: true, PUBLIC_URL: true, OPENFGA_API_URL: true, OPENFGA_API_TOKEN: true })
  .parse(process.env)

process.exitCode = await runCli(process.argv.slice(2), {
  admin: createAdminClient({
    home: resolve(REMIT_HOME),
    withService: async (work) => {
      const { withService } = await wholeService()
      return withService(loadConfig(process.env), { clock: systemClock, log: () => undefined, fetch }, work)
    },
  }),
  terminal: createTerminal(process),
  reembed: async (onProgress) => {
    const { reembedStored } = await wholeService()
    return reembedStored(loadConfig(process.env), { isTerminal: process.stderr.isTTY, onProgress })
  },
  fetch,
  publicUrl: PUBLIC_URL ?? `http://localhost:${PORT}`,
  ...(OPENFGA_API_URL !== undefined && {
    openfga: {
      apiUrl: OPENFGA_API_URL,
      ...(OPENFGA_API_TOKEN !== undefined && { apiToken: OPENFGA_API_TOKEN }),
    },
  }),
  envToken: process.env['REMIT_TOKEN'],
  newKey: randomUUID,
  now: Date.now,
})
