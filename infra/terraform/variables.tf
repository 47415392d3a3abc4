# What every deployment says.

variable "name" {
  description = "Prefix of the names of everything made here. Two deployments in one account and region need two names."
  type        = string
  default     = "fleetwire"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){1,19}$", var.name)) && length(var.name) <= 20
    error_message = "name must be 2 to 20 lower-case letters, digits and single hyphens, begin with a letter and not end with a hyphen: AWS limits the names that are built from it to 32 characters."
  }
}

variable "domain_name" {
  description = "The one host name for sockets and REST, such as realtime.example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain_name)) && length(var.domain_name) <= 253
    error_message = "domain_name must be a lower-case host name such as realtime.example.com, without https:// and without a path."
  }
}

variable "zone_id" {
  description = "The Route 53 hosted zone that holds domain_name; the record is made in it, and the certificate too unless certificate_arn is given. Null: the DNS record is made elsewhere, by hand."
  type        = string
  default     = null

  validation {
    condition     = var.zone_id == null || can(regex("^Z[A-Z0-9]{1,31}$", var.zone_id))
    error_message = "zone_id must be a Route 53 zone's id such as Z0123456789ABCDEFGHIJ (without /hostedzone/), or null."
  }

  validation {
    condition     = var.zone_id != null || var.certificate_arn != null
    error_message = "give zone_id (then the certificate is made and proved through that zone), or certificate_arn, or both."
  }
}

variable "certificate_arn" {
  description = "An issued ACM certificate for domain_name in this region. Null: one is made in zone_id."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]+$", var.certificate_arn))
    error_message = "certificate_arn must be the ARN of an ACM certificate (arn:aws:acm:REGION:ACCOUNT:certificate/ID), or null."
  }
}

variable "image_tag" {
  description = "Tag of the node's image in the repository that is made here. Null: everything but the nodes is made, so that there is a repository to push the first image to."
  type        = string
  default     = null

  validation {
    condition     = var.image_tag == null || can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag))
    error_message = "image_tag must be a tag alone, such as v1.2.0 or a commit's hash: 1 to 128 letters, digits, dots, hyphens and underscores, without the repository and its colon."
  }

  validation {
    condition     = var.image_tag != "latest"
    error_message = "image_tag must not be latest: the repository's tags are immutable, and going back needs a name for what to go back to."
  }
}

variable "tags" {
  description = "Tags for everything made here that can have some, beside the provider's default_tags."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.tags) <= 40 && alltrue([for k, v in var.tags : can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{1,128}$", k)) && can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{0,256}$", v)) && !startswith(lower(k), "aws:")])
    error_message = "tags must be at most 40, with keys of 1 to 128 and values of 0 to 256 letters, digits, spaces and _.:/=+@- ; keys that begin with aws: are AWS's own."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of yours, in this region, that encrypts Redis's disks, the secrets, the logs, the images and the functions' environment. Null: AWS's own keys. Choose before the first apply: another key replaces Redis and the image repository."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID), not of an alias, or null."
  }
}

variable "functions_dir" {
  description = "The folder into which `make package` put tokens.zip, publish.zip and the other functions."
  type        = string

  validation {
    condition     = alltrue([for f in local.function_names : fileexists("${var.functions_dir}/${f}.zip")])
    error_message = "functions_dir must hold ${join(", ", [for f in local.function_names : "${f}.zip"])}: run `make package` and give the path of dist."
  }
}

# Network.

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made; ignored with existing_network."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 20, false)
    error_message = "vpc_cidr must be an IPv4 network of /16 to /20, such as 10.40.0.0/16."
  }
}

variable "availability_zones" {
  description = "In how many availability zones the VPC has subnets; ignored with existing_network."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.availability_zones)
    error_message = "availability_zones must be 2 or 3: the balancer and the Redis failover need two."
  }
}

variable "nat_gateway_per_zone" {
  description = "One NAT gateway in each zone instead of one in all. Through it nodes and functions reach AWS's APIs, not devices: without it no connection drops, but nothing new starts. Ignored with existing_network."
  type        = bool
  default     = false
}

variable "existing_network" {
  description = "A VPC of your own instead of a new one. Public subnets hold the balancer; private ones hold nodes, functions and Redis, and need a way out to AWS's APIs (NAT, or interface endpoints for ecr.api, ecr.dkr, logs, secretsmanager and elasticloadbalancing, and a gateway endpoint for s3)."
  type = object({
    vpc_id             = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.existing_network == null || can(regex("^vpc-[0-9a-f]{8,17}$", var.existing_network.vpc_id))
    error_message = "existing_network.vpc_id must be a VPC's id such as vpc-0a1b2c3d4e5f60718."
  }

  validation {
    condition = var.existing_network == null || try(alltrue([
      for ids in [var.existing_network.public_subnet_ids, var.existing_network.private_subnet_ids] :
      length(distinct(ids)) >= 2 && alltrue([for id in ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))])
    ]), false)
    error_message = "existing_network needs at least 2 different public and 2 different private subnets, in different zones, by their ids (subnet-…)."
  }
}

variable "allowed_cidrs" {
  description = "Who may reach the balancer, as IPv4 networks."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for c in var.allowed_cidrs : can(cidrhost(c, 0)) && !strcontains(c, ":")])
    error_message = "allowed_cidrs must be IPv4 networks such as 203.0.113.0/24; 0.0.0.0/0 is everybody."
  }
}

# Nodes.

variable "node_cpu" {
  description = "CPU units of a node's task; 1024 are one vCPU."
  type        = number
  default     = 2048

  validation {
    condition     = contains([512, 1024, 2048, 4096, 8192], var.node_cpu)
    error_message = "node_cpu must be 512, 1024, 2048, 4096 or 8192."
  }
}

variable "node_memory" {
  description = "Memory of a node's task in MiB."
  type        = number
  default     = 4096

  validation {
    condition = contains(lookup({
      512  = range(1024, 4097, 1024)
      1024 = range(2048, 8193, 1024)
      2048 = range(4096, 16385, 1024)
      4096 = range(8192, 30721, 1024)
      8192 = range(16384, 61441, 4096)
    }, var.node_cpu, []), var.node_memory)
    error_message = "Fargate has no task of node_cpu ${var.node_cpu} with node_memory ${var.node_memory}. MiB in steps of 1024 (with 8192 CPU units: 4096): 512 takes 1024 to 4096, 1024 takes 2048 to 8192, 2048 takes 4096 to 16384, 4096 takes 8192 to 30720, 8192 takes 16384 to 61440."
  }
}

variable "nodes_min" {
  description = "Fewest nodes."
  type        = number
  default     = 2

  validation {
    condition     = var.nodes_min >= 2 && floor(var.nodes_min) == var.nodes_min
    error_message = "nodes_min must be a whole number of at least 2: with one node, a deployment at 150 % has no room for the new one and never ends."
  }
}

variable "nodes_max" {
  description = "Most nodes."
  type        = number
  default     = 20

  validation {
    condition     = var.nodes_max >= var.nodes_min && var.nodes_max <= 500 && floor(var.nodes_max) == var.nodes_max
    error_message = "nodes_max must be a whole number from nodes_min (${var.nodes_min}) to 500."
  }
}

variable "connections_per_node" {
  description = "Connections per node that autoscaling aims at. Two thirds of what a node is known to carry leaves room for a deployment, when a node less or a busy minute must be borne."
  type        = number
  default     = 20000

  validation {
    condition     = var.connections_per_node >= 100 && var.connections_per_node <= 50000
    error_message = "connections_per_node must be 100 to 50000: a task may hold 65535 open files."
  }
}

variable "drain_seconds" {
  description = "Over how long a node that goes away closes its connections. The balancer waits 60 s more before it cuts what is left."
  type        = number
  default     = 180

  validation {
    condition     = var.drain_seconds >= 30 && var.drain_seconds <= 3540 && floor(var.drain_seconds) == var.drain_seconds
    error_message = "drain_seconds must be a whole number from 30 to 3540: AWS lets a balancer wait 3600 s at most, and 60 of them are kept in hand."
  }
}

# Sinks.

variable "sink_queue_arns" {
  description = "Queues of Amazon SQS that sinks of the apps document send to. Nodes may send to these, and to no others."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.sink_queue_arns : can(regex("^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}(\\.fifo)?$", a))])
    error_message = "sink_queue_arns must be ARNs of queues, such as arn:aws:sqs:eu-central-1:123456789012:fleet-events; not their URLs."
  }
}

variable "sink_stream_arns" {
  description = "Streams of Amazon Kinesis Data Streams that sinks of the apps document write to. Nodes may write to these, and to no others."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.sink_stream_arns : can(regex("^arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[A-Za-z0-9_.-]{1,128}$", a))])
    error_message = "sink_stream_arns must be ARNs of streams, such as arn:aws:kinesis:eu-central-1:123456789012:stream/fleet-events."
  }
}

variable "sink_secret_arns" {
  description = "Secrets of AWS Secrets Manager that sinks of the apps document name: of webhooks, Kafka and other Redis. Nodes may read these. Those that are encrypted with a key of yours need it in sink_kms_key_arns."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.sink_secret_arns : can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]{1,512}$", a))])
    error_message = "sink_secret_arns must be ARNs of secrets, such as arn:aws:secretsmanager:eu-central-1:123456789012:secret:crm-AbCdEf."
  }
}

variable "sink_kms_key_arns" {
  description = "Your KMS keys that encrypt those queues, streams and secrets. AWS's own keys need no entry."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.sink_kms_key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", a))])
    error_message = "sink_kms_key_arns must be ARNs of KMS keys (arn:aws:kms:REGION:ACCOUNT:key/ID), not of aliases."
  }
}

variable "sink_networks" {
  description = "Private networks that webhooks of sinks may reach (-sink-networks). Without it they reach public addresses alone."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for c in var.sink_networks : can(cidrhost(c, 0))])
    error_message = "sink_networks must be networks such as 10.20.0.0/16, or 10.20.0.7/32 for one address."
  }
}

variable "sink_egress" {
  description = "Where sinks connect to by another port than 443, such as the brokers of Kafka: networks and ports that nodes may reach."
  type = list(object({
    cidr = string
    port = number
  }))
  default = []

  validation {
    condition     = alltrue([for e in var.sink_egress : can(cidrhost(e.cidr, 0)) && !strcontains(e.cidr, ":") && e.port >= 1 && e.port <= 65535 && floor(e.port) == e.port && e.port != 443])
    error_message = "sink_egress must be IPv4 networks and ports from 1 to 65535, such as { cidr = \"10.20.0.0/16\", port = 9094 }; 443 is open already."
  }

  validation {
    condition     = length(distinct([for e in var.sink_egress : "${e.cidr}:${e.port}"])) == length(var.sink_egress)
    error_message = "sink_egress must name each network and port once."
  }
}

# Functions.

variable "function_architecture" {
  description = "What `make package` built the functions for."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.function_architecture)
    error_message = "function_architecture must be arm64 or x86_64 (which Go calls amd64)."
  }
}

variable "function_memory" {
  description = "Memory of each function in MB; CPU grows with it."
  type        = number
  default     = 512

  validation {
    condition     = var.function_memory >= 128 && var.function_memory <= 10240 && floor(var.function_memory) == var.function_memory
    error_message = "function_memory must be a whole number from 128 to 10240."
  }
}

variable "function_concurrency" {
  description = "Most instances of each function at a time, taken out of the account's pool for it. Null: no limit but the account's."
  type        = number
  default     = null

  validation {
    condition     = var.function_concurrency == null || try(var.function_concurrency >= 1 && floor(var.function_concurrency) == var.function_concurrency, false)
    error_message = "function_concurrency must be a whole number of at least 1, or null; 0 would switch the functions off."
  }
}

# Redis.

variable "redis_node_type" {
  description = "ElastiCache node type."
  type        = string
  default     = "cache.m7g.large"

  validation {
    condition     = can(regex("^cache\\.[a-z][a-z0-9]*\\.[a-z0-9]+$", var.redis_node_type))
    error_message = "redis_node_type must be an ElastiCache node type such as cache.t4g.small or cache.m7g.large; serverless can't be used, it rejects PSUBSCRIBE."
  }
}

variable "redis_cluster_mode" {
  description = "True makes Redis a cluster of redis_shards primaries, which divide the load. Choose it before the first apply: another value later makes a new, empty Redis."
  type        = bool
  default     = false
}

variable "redis_shards" {
  description = "Primaries, with redis_cluster_mode. More can be added while Redis runs. Without redis_cluster_mode it changes nothing."
  type        = number
  default     = 3

  validation {
    condition     = var.redis_shards >= 1 && floor(var.redis_shards) == var.redis_shards && var.redis_shards * (1 + var.redis_replicas) <= 500
    error_message = "redis_shards must be a whole number of at least 1, and redis_shards times 1 + redis_replicas at most 500, the most nodes that AWS allows (above 90 after a request to AWS)."
  }
}

variable "redis_replicas" {
  description = "Replicas beside each primary, in other zones, for failover."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3, 4, 5], var.redis_replicas)
    error_message = "redis_replicas must be 1 to 5: failover needs one."
  }
}

variable "redis_password_version" {
  description = "Raise it by one for a new Redis password."
  type        = number
  default     = 1

  validation {
    condition     = var.redis_password_version >= 1 && floor(var.redis_password_version) == var.redis_password_version
    error_message = "redis_password_version must be a whole number of at least 1."
  }
}

variable "redis_password_strategy" {
  description = "ROTATE keeps the password before the newest valid too, so that what runs goes on; SET then ends that. Go back to ROTATE in the same apply as the next redis_password_version: by itself it changes nothing that AWS would take."
  type        = string
  default     = "ROTATE"

  validation {
    condition     = contains(["ROTATE", "SET"], var.redis_password_strategy)
    error_message = "redis_password_strategy must be ROTATE (the old password stays valid) or SET (only the newest is)."
  }
}

variable "redis_snapshot_days" {
  description = "For how many days daily snapshots are kept. They can bring back the message counters of the month. A final snapshot, NAME-final-ID, is taken whenever Redis is deleted, and kept until you delete it."
  type        = number
  default     = 1

  validation {
    condition     = var.redis_snapshot_days >= 0 && var.redis_snapshot_days <= 35 && floor(var.redis_snapshot_days) == var.redis_snapshot_days
    error_message = "redis_snapshot_days must be a whole number from 0 (none) to 35."
  }
}

# Operations.

variable "flow_log_retention_days" {
  description = "Logs which addresses spoke to which in the VPC, for so many days. Null: no flow logs. Ignored with existing_network, whose flow logs are its owner's."
  type        = number
  default     = null

  validation {
    condition     = var.flow_log_retention_days == null || contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], coalesce(var.flow_log_retention_days, 1))
    error_message = "flow_log_retention_days must be one of those that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653; or null for no flow logs."
  }
}

variable "log_retention_days" {
  description = "For how long logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of those that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to. Empty: they only show in CloudWatch."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", a))])
    error_message = "alarm_topic_arns must be ARNs of SNS topics (arn:aws:sns:REGION:ACCOUNT:NAME)."
  }
}

variable "access_logs_bucket" {
  description = "An S3 bucket for the balancer's access logs. They hold whole URLs, so every token that a device sends as ?token= lies readable in that bucket: leave it null unless devices send the Authorization header."
  type        = string
  default     = null

  validation {
    condition     = var.access_logs_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.access_logs_bucket))
    error_message = "access_logs_bucket must be a bucket's name (3 to 63 lower-case letters, digits, dots and hyphens), not its ARN, or null."
  }
}

variable "waf_requests_per_5_minutes" {
  description = "Puts a web application firewall before the balancer: addresses of ill repute are refused, and those with more requests than this in 5 minutes. A fleet behind one NAT is one address. Null: no firewall."
  type        = number
  default     = null

  validation {
    condition     = var.waf_requests_per_5_minutes == null || try(var.waf_requests_per_5_minutes >= 100 && var.waf_requests_per_5_minutes <= 2000000000, false)
    error_message = "waf_requests_per_5_minutes must be 100 to 2000000000, or null for no firewall."
  }
}

variable "deletion_protection" {
  description = "Has AWS refuse to delete the balancer, the one resource here that AWS protects. `terraform destroy` comes to the balancer before Redis, the secrets, the certificate and the network, and so leaves those too; nodes, functions, rules, alarms and the DNS record are gone by then, and the next apply makes them again. Set it to false and apply before `terraform destroy`."
  type        = bool
  default     = true
}
