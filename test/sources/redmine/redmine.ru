# Redmine as it is, and beside it a way for tests to change what its API does not: each request is a line of Ruby.
require '/usr/share/redmine/config/environment'

# Nothing here has to survive a power cut, and nobody reads its log.
module Quick
  def configure_connection
    super
    execute('PRAGMA synchronous = OFF')
    execute('PRAGMA journal_mode = MEMORY')
  end
end
ActiveRecord::ConnectionAdapters::SQLite3Adapter.prepend(Quick)
ActiveRecord::Base.clear_all_connections!
Rails.logger.level = Logger::FATAL

# It sends head and body apart: the second would wait 40 ms for the other side to say that it has the first.
module AtOnce
  def accept_client(server)
    super.tap { |socket| socket&.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1) }
  end
end
WEBrick::GenericServer.prepend(AtOnce)

# Ends with whoever started it.
Thread.new do
  $stdin.read
  exit!
end

key = ENV.fetch('DRIVER_KEY')
driver = lambda do |env|
  request = Rack::Request.new(env)
  next [403, {}, []] unless Rack::Utils.secure_compare(env['HTTP_X_DRIVER_KEY'].to_s, key)

  RequestStore.begin!
  RequestStore.clear!
  Setting.clear_cache
  body = JSON.parse(request.body.read)
  args = body['args']
  result = ActiveRecord::Base.connection_pool.with_connection { eval(body['ruby'], binding) }
  [200, { 'Content-Type' => 'application/json' }, [JSON.generate({ 'result' => result })]]
rescue StandardError, ScriptError => e
  [500, { 'Content-Type' => 'text/plain' }, ["#{e.class}: #{e.message}\n#{e.backtrace.first(5).join("\n")}"]]
ensure
  RequestStore.end!
  RequestStore.clear!
end

run Rack::URLMap.new('/driver' => driver, '/' => Rails.application)
