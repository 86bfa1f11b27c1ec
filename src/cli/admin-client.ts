import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type ErrorCode, errorCodes } from '@remit/contract/errors'
import type { Facts } from '../doctor/facts.ts'
import { AppError } from '../kernel/errors.ts'
import { assertHome, lockHome } from '../store/home.ts'
import { FolderLockedError } from '../store/lock.ts'
import type { MigrateOptions } from '../store/migrate.ts'
import { addressName, opsPortName, pointerName, socketName } from './admin-server.ts'
import type { AdminDeps } from './commands/command.ts'
import { type CommandName, runCommand } from './commands.ts'
import { NotAnsweringError } from './not-answering.ts'

/** How a command opens the database where no service runs. */
export type OpeningOptions = Pick<MigrateOptions, 'upgradesCopy'>

/** Opens everything that the commands need in this process, and closes it again. */
export type WithService = <T>(
  task: (dependencies: AdminDeps) => Promise<T>,
  options?: OpeningOptions,
) => Promise<T>

/** Runs commands with machine rights, in the running service or in this process. */
export interface AdminClient {
  /** Runs a command; throws an AppError with what the service said. */
  run(name: CommandName, args: object, opening?: OpeningOptions): Promise<Readonly<Record<string, unknown>>>
}

/** Where the running service listens, and what runs a command where none does. */
export interface AdminClientOptions {
  /** REMIT_HOME. */
  readonly home: string
  /** Left out: a command needs a running service. */
  readonly withService?: WithService
}

// What they are asked for is done over HTTP: without a service there is nothing to do it with.
const needService: ReadonlySet<CommandName> = new Set<CommandName>(['demo', 'demo_confirm', 'writer'])

/**
 * Speaks to the service that runs on REMIT_HOME; where none does, takes the folder's lock and works itself,
 * but for what only a running service can do. Makes no folder: only starting the service does.
 */
export function createAdminClient({ home, withService }: AdminClientOptions): AdminClient {
  return {
    async run(name, args, opening) {
      const answer = await post(await socketOf(home), name, args)
      if (answer !== undefined) return answer
      if (withService === undefined || needService.has(name)) {
        if (withService !== undefined) assertHome(home)
        throw new NotAnsweringError(
          `No service is running with REMIT_HOME=${home}, or it is still starting. Start it: npm start`,
        )
      }
      await using _lock = await locked(home)
      return { ...(await withService((dependencies) => runCommand(name, args, dependencies), opening)) }
    },
  }
}

/**
 * Address of the service that runs on REMIT_HOME; undefined where none does, or where that is another's
 * folder.
 */
export const runningUrl = (home: string): Promise<string | undefined> =>
  readFile(join(home, addressName), 'utf8').catch(() => undefined)

/** The operators' port of the service that runs on REMIT_HOME; undefined as above. */
export const runningOpsPort = (home: string): Promise<string | undefined> =>
  readFile(join(home, opsPortName), 'utf8').catch(() => undefined)

// A service that stands still accepts and never answers.
const factsMsMax = 20_000

/** What the service that runs on REMIT_HOME reads of its database; undefined where none runs. */
export async function readRunningFacts(home: string): Promise<Facts | undefined> {
  try {
    const { status, body } = await exchange(
      await socketOf(home),
      '/facts',
      '{}',
      AbortSignal.timeout(factsMsMax),
    )
    if (status !== 200) throw new Error('its database does not answer')
    return JSON.parse(body) as Facts
  } catch (error) {
    if (isNobody(error)) return undefined
    throw error
  }
}

async function locked(home: string): Promise<AsyncDisposable> {
  try {
    return await lockHome(home)
  } catch (error) {
    if (!(error instanceof FolderLockedError)) throw error
    throw new Error(`The service with REMIT_HOME=${home} is starting, stopping or busy. Try again.`, {
      cause: error,
    })
  }
}

async function socketOf(home: string): Promise<string> {
  try {
    return await readFile(join(home, pointerName), 'utf8')
  } catch (error) {
    if (isNobody(error)) return join(home, socketName)
    throw error
  }
}

/** The service's answer; undefined where nobody listens. */
async function post(
  path: string,
  name: string,
  args: object,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    const { status, body } = await exchange(path, `/commands/${name}`, JSON.stringify(args))
    const answer = JSON.parse(body) as Readonly<Record<string, unknown>>
    if (status === 200) return answer
    throw asError(answer)
  } catch (error) {
    if (isNobody(error)) return undefined
    throw error
  }
}

interface Exchanged {
  readonly status: number
  readonly body: string
}

function exchange(socketPath: string, path: string, body: string, signal?: AbortSignal): Promise<Exchanged> {
  const headers = { 'content-type': 'application/json', host: 'remit' }
  return new Promise((resolve, reject) => {
    request({ socketPath, path, method: 'POST', headers, ...(signal && { signal }) }, (response) => {
      text(response).then((answer) => resolve({ status: response.statusCode ?? 0, body: answer }), reject)
    })
      .on('error', reject)
      .end(body)
  })
}

function asError({ code, detail, field }: Readonly<Record<string, unknown>>): AppError {
  const errorCode: ErrorCode = typeof code === 'string' && isCode(code) ? code : 'internal_error'
  return new AppError(errorCode, {
    public: String(detail),
    ...(typeof field === 'string' && { field }),
  })
}

const isCode = (code: string): code is ErrorCode => Object.hasOwn(errorCodes, code)

const isNobody = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
