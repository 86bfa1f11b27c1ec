import type { BatchCheckRequest, BatchCheckResponse, OpenFgaApi, ReadChangesResponse } from '@openfga/sdk'

/** OpenFGA's API as the official SDK has it; of what may go past the SDK only what is read of its answer. */
export type FgaApi = Omit<OpenFgaApi, 'batchCheck' | 'readChanges'> & {
  batchCheck: BatchCheck
  readChanges: ReadChanges
}

/** OpenFGA's BatchCheck with the response headers, which carry the request id. */
export type BatchCheck = (
  storeId: string,
  body: BatchCheckRequest,
  options?: { readonly signal?: AbortSignal },
) => Promise<
  BatchCheckResponse & { readonly $response: { readonly headers: Readonly<Record<string, unknown>> } }
>

type ReadChanges = (
  storeId: string,
  type: string | undefined,
  pageSize: number | undefined,
  token: string | undefined,
  startTime: string | undefined,
  options?: { readonly signal?: AbortSignal },
) => Promise<ReadChangesResponse>

/** What the SDK sends its requests by. */
export type AxiosInstance = NonNullable<ConstructorParameters<typeof OpenFgaApi>[1]>
type Anything = (...parameters: never[]) => unknown
/** What axios asks instead of the network. */
export type AxiosAdapter = Extract<AxiosInstance['defaults']['adapter'], Anything>

/** How OpenFGA is reached. */
export interface OpenFgaTransport {
  readonly apiUrl: string
  readonly apiToken?: string
  /**
   * Milliseconds for one call, a streamed list to its end included. The SDK's own default lets a call take
   * over 12 s with its retries.
   */
  readonly timeoutMs: number
  /** Answers in process instead of over HTTP. */
  readonly adapter?: AxiosAdapter
}
