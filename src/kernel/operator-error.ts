/**
 * What whoever starts the service can mend: its message says what is wrong and what to do, and is all that
 * they are shown. Anything else that ends a start is a defect and comes with its stack.
 */
export class OperatorError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'OperatorError'
  }
}
