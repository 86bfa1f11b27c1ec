import { FgaError } from '@remit/engine'
import { invalid } from '../kernel/errors.ts'

/**
 * A text that is no model, no allow-list or no store file. The message names each line or member that is
 * wrong.
 */
export class TextError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'TextError'
  }
}

/** Whether it says what is wrong with a text, or with the model that it means. */
export const isTextError = (error: unknown): error is Error =>
  error instanceof TextError || error instanceof FgaError

/** Throws `invalid_request`, which names the field, for what is wrong with its text. */
export async function reading<T>(field: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    throw isTextError(error) ? invalid(field, error.message) : error
  }
}
