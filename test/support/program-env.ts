const { PATH = '', NODE_COMPILE_CACHE } = process.env

/** What a program that a test starts has of this process: where programs are, and what Node compiled. */
export const programEnv: Readonly<Record<string, string>> = {
  PATH,
  ...(NODE_COMPILE_CACHE !== undefined && { NODE_COMPILE_CACHE }),
}
