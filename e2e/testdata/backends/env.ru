# What a Rack server takes the request's headers for.
run(lambda do |env|
  lines = env.select { |_, value| value.is_a?(String) }.map { |name, value| "#{name}=#{value}\n" }
  [200, { 'content-type' => 'text/plain' }, [lines.join]]
end)
