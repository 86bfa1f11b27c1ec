import { FgaApiError } from '@openfga/sdk'
import { AppError } from '../kernel/errors.ts'
import { PositionRefused, WriteRefused } from './fga.ts'

/** OpenFGA was not reached, or answered with another status than 200: by code or status alone. */
export class NoAnswer extends Error {
  constructor(reason: string) {
    super(`OpenFGA ${reason}`)
    this.name = 'NoAnswer'
  }
}

/**
 * Turns everything that keeps OpenFGA from answering into one 503; what it refuses as wrong stays an error of
 * ours.
 */
export async function asUnavailable<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof PositionRefused || error instanceof WriteRefused) throw error
    throw new AppError('authorization_unavailable', { internal: describe(error), cause: scrubbed(error) })
  }
}

// The SDK's errors carry the whole request; only code and status may reach a log.
function describe(error: unknown): string {
  if (error instanceof NoAnswer) return error.message
  if (error instanceof FgaApiError) return `OpenFGA ${error.statusCode ?? ''} ${error.name}`
  return error instanceof Error ? `OpenFGA: ${error.name}` : 'OpenFGA failed'
}

const scrubbed = (error: unknown): unknown => (error instanceof FgaApiError ? undefined : error)
