import { operator, record } from '../audit/record.ts'
import { AppError } from '../kernel/errors.ts'
import type { AdminDeps } from './commands/command.ts'
import { demoCommands } from './commands/demo.ts'
import { keepingCommands } from './commands/keeping.ts'
import { peopleCommands } from './commands/people.ts'
import { registryCommands } from './commands/registry.ts'

/** Every command that the machine's operator has, by name. Arguments and answers are JSON. */
const commands = {
  ...demoCommands,
  ...registryCommands,
  ...peopleCommands,
  ...keepingCommands,
} as const

/** The name of a command with machine rights. */
export type CommandName = keyof typeof commands

/**
 * Runs one command. It is put on record before it runs, so that nothing happens unrecorded; its answer, which
 * may be a token, never is. All of it has one `txn`, an error too. Throws `not_found` for no such command and `invalid_request` for wrong arguments.
 */
export async function runCommand(name: string, args: unknown, dependencies: AdminDeps): Promise<object> {
  if (!isCommand(name)) throw new AppError('not_found', { public: `There is no command ${name}.` })
  const { checked, run } = commands[name](args)
  const txn = dependencies.newTxn()
  await record(dependencies.database, operator(txn), {
    event: 'command',
    command: name,
    arguments: { ...checked },
  })
  try {
    return await run({ ...dependencies, newTxn: () => txn })
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'internal_error'
    // Without a database it stays on record as begun, and why it failed is what its caller has to hear.
    await record(dependencies.database, operator(txn), {
      event: 'command_failed',
      command: name,
      code,
    }).catch(() => undefined)
    throw error
  }
}

const isCommand = (name: string): name is CommandName => Object.hasOwn(commands, name)
